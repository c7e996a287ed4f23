// SPDX-License-Identifier: LGPL-3.0-or-later

//! Tells the program which version of crossbeam-channel it is built against, and which compiler builds it.

use std::process::Command;

fn main() {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let crossbeam = lock
        .split("[[package]]")
        .find(|p| p.contains("name = \"crossbeam-channel\""))
        .and_then(|p| p.split("version = \"").nth(1))
        .and_then(|p| p.split('"').next())
        .unwrap_or("of unknown version")
        .to_string();
    let rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .arg("--version")
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
        .unwrap_or_default();
    println!("cargo:rustc-env=CROSSBEAM_VERSION={}, {}", crossbeam, rustc);
    println!("cargo:rerun-if-changed=Cargo.lock");
}
