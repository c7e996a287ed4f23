/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SOAK_MESSAGE_H
#define SPOOL_SOAK_MESSAGE_H

/*
 * What a message looks like, and what is known of those that arrived. The first word of each is its producer (8 bits),
 * its number (40 bits) and a hash of both and of the round (16 bits); every further word follows from the first. So
 * each byte is checked. Each getter keeps a bit for every message that it took, which the end of a round compares with
 * what was put: this costs about a nanosecond a message and says exactly which are lost or came twice.
 */

#include "../stress_util.h"

enum { PRODUCERS = 8, GETTERS = 8, BATCH = 64, ELEM_MAX = 1024 };
/* Messages of one producer in one round; all the getters' bits are to stay in the cache. */
#define SEQ_MAX (UINT64_C(1) << 20)
#define SEQ_MASK ((UINT64_C(1) << 40) - 1)
#define MIX UINT64_C(0x9e3779b97f4a7c15)
#define NOTES_MAX 20

/* The ledger of a getter, or, the last one, of what went to the drop function. */
#define DROPPED GETTERS
#define ANY_LANE 2

static struct {
    atomic_ullong messages, dropped, lost, duplicated, reordered, corrupted, hung, closes, early, channels, gos;
    atomic_uint notes;
} tally;

/* What the messages of a round have in common. */
static struct {
    uint64_t salt, base; /* base: the number of each producer's first */
    size_t size;
    unsigned producers;
    unsigned lane_of[PRODUCERS];
    uint64_t put[PRODUCERS]; /* how many puts were accepted; told by the producer at its end */
    char name[96];           /* for notes */
} batch;

static struct ledger {
    unsigned lane;
    uint64_t next[PRODUCERS]; /* 1 + the last number seen, less base */
    uint64_t got, duplicated, reordered, corrupted;
} ledgers[GETTERS + 1];

static uint64_t seen[GETTERS + 1][PRODUCERS][SEQ_MAX / 64];

/* Says what is wrong, the first times. */
static inline void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline void note(const char *format, ...)
{
    char text[400];
    va_list args;
    if (atomic_fetch_add(&tally.notes, 1) >= NOTES_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "WRONG in %s: %s\n", batch.name, text);
}

static inline uint64_t head_of(uint64_t key)
{
    return key << 16 | (key ^ batch.salt) * MIX >> 48;
}

/* The message number seq, counted from 0, of a producer. */
static inline void message_make(unsigned char *elem, unsigned producer, uint64_t seq)
{
    uint64_t head = head_of((uint64_t)producer << 40 | (batch.base + seq));
    memcpy(elem, &head, 8);
    for (size_t i = 1; i < batch.size / 8; i++) {
        uint64_t word = head ^ i * MIX;
        memcpy(elem + 8 * i, &word, 8);
    }
}

static inline bool body_is_right(const unsigned char *elem, uint64_t head)
{
    uint64_t wrong = 0, word;
    for (size_t i = 1; i < batch.size / 8; i++) {
        memcpy(&word, elem + 8 * i, 8);
        wrong |= word ^ head ^ i * MIX;
    }
    return wrong == 0;
}

static inline void message_is_corrupt(struct ledger *l, const unsigned char *elem, uint64_t head)
{
    l->corrupted++;
    size_t i = 1;
    uint64_t word = head;
    for (; i < batch.size / 8; i++) {
        memcpy(&word, elem + 8 * i, 8);
        if (word != (head ^ i * MIX))
            break;
    }
    note("ledger %d: corrupted message: head %016" PRIx64 " (should be %016" PRIx64 "), word %zu of %zu is %016" PRIx64
         ", base %" PRIx64,
         (int)(l - ledgers), head, head_of(head >> 16), i, batch.size / 8, word, batch.base);
}

static inline void message_is_late(struct ledger *l, unsigned p, uint64_t seq)
{
    bool twice = seen[l - ledgers][p][seq / 64] >> seq % 64 & 1;
    note("ledger %d: message %" PRIu64 " of producer %u came %s, after %" PRIu64, (int)(l - ledgers), seq, p,
         twice ? "twice" : "late", l->next[p] - 1);
    l->duplicated += twice;
    l->reordered += !twice;
}

static inline void message_take(struct ledger *l, const unsigned char *elem)
{
    uint64_t head;
    memcpy(&head, elem, 8);
    uint64_t key = head >> 16, seq = (key & SEQ_MASK) - batch.base;
    unsigned p = (unsigned)(key >> 40);
    l->got++;
    if (head != head_of(key) || p >= batch.producers || seq >= SEQ_MAX || !body_is_right(elem, head) ||
        (l->lane != ANY_LANE && l->lane != batch.lane_of[p])) {
        message_is_corrupt(l, elem, head);
        return;
    }
    if (seq < l->next[p])
        message_is_late(l, p, seq);
    else
        l->next[p] = seq + 1;
    seen[l - ledgers][p][seq / 64] |= UINT64_C(1) << seq % 64;
}

/* Compares 64 messages of a producer with what was put, and forgets them. */
static inline void word_verify(unsigned p, uint64_t w)
{
    uint64_t all = 0, twice = 0;
    for (int g = 0; g <= GETTERS; g++) {
        twice |= all & seen[g][p][w];
        all |= seen[g][p][w];
        seen[g][p][w] = 0;
    }
    uint64_t n = batch.put[p] > w * 64 ? batch.put[p] - w * 64 : 0;
    uint64_t put = n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    if (all == put && !twice)
        return;
    note("producer %u, %" PRIu64 " put: messages %" PRIu64 "..: put %016" PRIx64 ", arrived %016" PRIx64
         ", at two getters %016" PRIx64,
         p, batch.put[p], w * 64, put, all, twice);
    tally.lost += (unsigned)__builtin_popcountll(put & ~all);
    tally.duplicated += (unsigned)__builtin_popcountll(twice) + (unsigned)__builtin_popcountll(all & ~put);
}

/* At the end of a round, when all its threads are done: returns how many messages were got, and clears the ledgers. */
static inline uint64_t batch_verify(void)
{
    uint64_t got = 0;
    for (unsigned p = 0; p < batch.producers; p++) {
        uint64_t n = batch.put[p];
        for (int g = 0; g <= GETTERS; g++)
            n = ledgers[g].next[p] > n ? ledgers[g].next[p] : n;
        for (uint64_t w = 0; w * 64 < n; w++)
            word_verify(p, w);
    }
    for (int g = 0; g <= GETTERS; g++) {
        struct ledger *l = &ledgers[g];
        if (g != DROPPED)
            got += l->got;
        else
            tally.dropped += l->got;
        tally.duplicated += l->duplicated;
        tally.reordered += l->reordered;
        tally.corrupted += l->corrupted;
        memset(l, 0, sizeof(*l));
    }
    tally.messages += got;
    return got;
}

static inline uint64_t wrong_so_far(void)
{
    return tally.lost + tally.duplicated + tally.reordered + tally.corrupted + tally.hung;
}

#endif
