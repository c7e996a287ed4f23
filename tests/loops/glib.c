/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* GLib: a source for the descriptor in a GMainLoop. */

#include "loop.h"

#include <glib-unix.h>

struct use {
    struct loop *l;
    GMainLoop *loop;
};

static gboolean readable(gint fd, GIOCondition condition, gpointer arg)
{
    struct use *use = arg;

    loop_must(fd == loop_fd(use->l) && condition == G_IO_IN);
    if (loop_turn(use->l))
        return G_SOURCE_CONTINUE;
    g_main_loop_quit(use->loop);
    return G_SOURCE_REMOVE;
}

static void run(struct loop *l)
{
    GMainContext *context = g_main_context_new();
    struct use use = {l, g_main_loop_new(context, FALSE)};
    GSource *source = g_unix_fd_source_new(loop_fd(l), G_IO_IN);

    g_source_set_callback(source, G_SOURCE_FUNC(readable), &use, NULL);
    g_source_attach(source, context);
    g_main_loop_run(use.loop);
    g_source_unref(source);
    g_main_loop_unref(use.loop);
    g_main_context_unref(context);
}

int main(void)
{
    return loop_test("glib", LOOP_LEVEL, run);
}
