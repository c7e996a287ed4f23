// SPDX-License-Identifier: LGPL-3.0-or-later
module bench

go 1.18
