/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

const struct scene scenes[] = {
    {.name = "bounded", .run = run_bounded},
    {.name = "unbounded", .run = run_unbounded},
    {.name = "meet", .run = run_meet},
    {.name = "pair", .run = run_pair},
    {.name = "blocked", .run = run_blocked},
    {.name = "blocked_meet", .run = run_blocked_meet},
    {.name = "wake_all", .run = run_wake_all},
    {.name = "strangers", .run = run_strangers},
    {.name = "many_threads", .run = run_many_threads, .kth_max = 12},
    {.name = "first_use", .run = run_first_use, .alone = true},
    {.name = "contended", .run = run_contended, .kth_max = 1},
    {.name = "select", .run = run_select},
    {.name = "select_stale", .run = run_select_stale},
    {.name = "select_many", .run = run_select_many},
    {.name = "select_blocked", .run = run_select_blocked},
    {.name = "select_meet", .run = run_select_meet},
    {.name = "select_nested", .run = run_select_nested},
    {.name = "select_unbounded", .run = run_select_unbounded},
    {.name = "select_source", .run = run_select_source},
    {.name = "timer", .run = run_timer},
    {.name = "timer_without_ioctl", .run = run_timer, .no_timer_ioctl = true},
    {.name = "timer_waits", .run = run_timer_waits},
    {.name = "signal", .run = run_signal},
    {.name = "child", .run = run_child},
    {.name = "go", .run = run_go},
    {.name = "go_fork", .run = run_go_fork},
    {.name = "dump", .run = run_dump, .kth_max = 40},
#ifndef FAULTS_NO_URING
    {.name = "uring", .run = run_uring},
    {.name = "uring_close", .run = run_uring_close},
    {.name = "uring_chain", .run = run_uring_chain},
    {.name = "uring_overflow", .run = run_uring_overflow},
#endif
};
const int n_scenes = sizeof(scenes) / sizeof(scenes[0]);
