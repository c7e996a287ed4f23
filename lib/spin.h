/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SPIN_H
#define SPOOL_SPIN_H

#include <stdbool.h>

/*
 * What a thread does before it sleeps: a wake across processors costs some 25 us in a virtual machine, so it looks again
 * for about a microsecond, then lets others run some times, then sleeps. With one processor only the other threads can
 * bring work.
 */

/*
 * How long to look again before sleeping: call with *turns from 0 up until it returns false. The other looks at so many
 * queues in each turn, and so takes fewer.
 */
bool spool__spin(unsigned *turns);
bool spool__spin_over(unsigned *turns, unsigned queues);
/*
 * The same, for longer, for who was woken in vain: others, who run, took what it was woken for, and would do so the
 * next time, as a wake takes longer than a turn of theirs. And until it sleeps again, nobody makes a system call to
 * wake it.
 */
bool spool__spin_late(unsigned *turns);
/* The same for who waits in a rendezvous, who says after how many turns it ended. */
bool spool__spin_for_partner(unsigned *turns);
void spool__spin_met(unsigned turns);
/* Whether the last turn let others run, which takes a system call, and those still to come will. */
bool spool__spin_yields(unsigned turns);
/*
 * How often who only tries looks again, after a pause each, before descriptors are made ready to tell of what comes
 * next: if strangers were told of what is now gone, the other side was at work a moment ago. To be told again takes
 * three system calls, which is about as long; more looks would not pay (the bound of Karlin and others, see spin.c).
 * And whether another processor may bring work meanwhile, as far as is known; signal handlers may ask.
 */
#ifndef TRY_LOOKS
#define TRY_LOOKS 32u
#endif
bool spool__spin_pays(void);
/*
 * Whether it lately gave a turn away to others who want the processor. That may pay for a queue, in which elements
 * gather meanwhile; in a rendezvous nothing does, and who is woken from sleep does not stand at the end of their queue.
 */
bool spool__spin_is_dear(void);

#endif
