/*
 * What the TypeScript relay is measured against: the same relaying of a split and of a packed ring as plain C at -O2,
 * for one region of guest memory that is accessed in place. It does what any correct relay has to do and no more.
 *
 * split_complete, per used element: reads the element once; checks the id's range and that the device holds that
 *   chain (a device that names another one would make the guest free what it did not give away); reads the chain's
 *   descriptors once each, walking NEXT with a bound, indirect tables too; for a writable one checks that its pages lie
 *   in the log and sets the bits that are not set; writes the guest's element. Per batch: one acquire, one exchange
 *   that publishes the index, the bits of the used ring's pages. With TRUSTING defined neither the id, nor whether the
 *   chain is held, nor the log's end is checked, as DPDK's relay does not check the second.
 * split_forward, per entry: reads the head once, checks its range and that the device does not hold it, copies it. It
 *   does not look at descriptors, as `complete` does.
 * packed_forward, per chain: reads the descriptors once, copies them with our wrap counter and buffer id, keeps a
 *   copy of their address, length and flags (completions are written over the guest's descriptors, and what the device
 *   still holds must be put back when the ring stops). The flags of a batch's first descriptor come last.
 * packed_complete, per used descriptor: reads it once, checks the id, sets the log's bits from the copies, writes the
 *   guest's used descriptor. The flags of a batch's first one come last, then the bits of the ring's pages.
 *
 * With CHECKED defined, relay-checked.h takes the place of much of that: the checks and notes of the relay of this
 * project, also in C.
 *
 * No notifications, no statistics, no ring that stops half-way.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

#define NEXT 1
#define WRITE 2
#define INDIRECT 4
#define AVAIL 0x80
#define USED 0x8000
#define MAX_SIZE 1024
#define unlikely(x) __builtin_expect(!!(x), 0)

struct split_desc { uint64_t addr; uint32_t len; uint16_t flags, next; };
struct packed_desc { uint64_t addr; uint32_t len; uint16_t id, flags; };
struct avail { uint16_t flags, idx, ring[]; };
struct used_elem { uint32_t id, len; };
struct used { uint16_t flags, idx; struct used_elem ring[]; };

/* Guest memory from `gpa` to before `gpa + bytes` at `hva`, the log, and the areas of the ring. */
struct setup {
  uint64_t hva, gpa, bytes;
  uint64_t log, log_bytes;
  uint64_t desc, driver, device;
  uint64_t size;
};

struct relay {
  struct setup s;
  uint8_t *log;
  uint64_t pages;
  uint64_t used_gpa;
  uint32_t mask, outstanding;
  /* Split. */
  struct split_desc *table;
  struct avail *avail, *our_avail;
  struct used *used, *our_used;
  uint16_t avail_idx, used_idx, our_avail_idx, our_used_idx;
  uint8_t held[MAX_SIZE];
  /* Packed. */
  struct packed_desc *ring, *ours;
  uint32_t in, in_wrap, to, to_wrap, out, out_wrap, done, done_wrap, free_count;
  struct packed_desc saved[MAX_SIZE];
  uint16_t guest_id[MAX_SIZE], slots[MAX_SIZE], rest[MAX_SIZE], free_ids[MAX_SIZE];
};

static inline int mark(uint8_t *log, uint64_t pages, uint64_t gpa, uint32_t len) {
  uint64_t page = gpa >> 12, last = (gpa + len - 1) >> 12;
#ifndef TRUSTING
  if (unlikely(last < page || last >= pages)) return -1;
#else
  (void)pages;
#endif
  for (; page <= last; page++) {
    uint8_t bit = 1 << (page & 7);
    if (!(__atomic_load_n(&log[page >> 3], __ATOMIC_RELAXED) & bit))
      __atomic_fetch_or(&log[page >> 3], bit, __ATOMIC_RELAXED);
  }
  return 0;
}

static void *at(struct relay *r, uint64_t gpa, uint64_t len) {
  if (gpa < r->s.gpa || len > r->s.bytes || gpa - r->s.gpa > r->s.bytes - len) return 0;
  return (void *)(r->s.hva + (gpa - r->s.gpa));
}

static __attribute__((noinline, unused)) int mark_table(struct relay *r, uint64_t gpa, uint32_t len) {
  const struct split_desc *t = at(r, gpa, len);
  uint32_t count = len / 16, next = 0;
  if (!t || count > r->s.size) return -1;
  for (uint32_t left = count; left > 0; left--) {
    if (next >= count) return -1;
    struct split_desc d = t[next];
    if (d.flags & WRITE && mark(r->log, r->pages, d.addr, d.len)) return -1;
    if (!(d.flags & NEXT)) return 0;
    next = d.next;
  }
  return -1;
}

#ifdef CHECKED
#include "relay-checked.h"
#endif
#include "relay-split.h"
#include "relay-packed.h"

static struct relay relay;
static _Alignas(4096) uint8_t ours[65536];

static int begin(const struct setup *s) {
  memset(&relay, 0, sizeof relay);
  memset(ours, 0, sizeof ours);
  if (s->size > MAX_SIZE || s->size & (s->size - 1)) return -1;
  relay.s = *s;
  relay.log = (uint8_t *)s->log;
  relay.pages = 8 * s->log_bytes;
  relay.mask = s->size - 1;
#ifdef CHECKED
  begin_notes(&relay);
#endif
  return 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Nanoseconds of each lap of the ring, in batches, go to `forward` and `complete`. */
int run_split(const struct setup *s, uint32_t batch, uint32_t laps, double *forward, double *complete) {
  if (begin(s)) return -1;
  struct relay *r = &relay;
  r->table = at(r, s->desc, 16 * s->size);
  r->avail = at(r, s->driver, 4 + 2 * s->size);
  r->used = at(r, s->device, 4 + 8 * s->size);
  r->our_avail = (struct avail *)ours;
  r->our_used = (struct used *)(ours + 8192);
  r->used_gpa = s->device;
  r->avail->idx = r->used->idx = 0;
  for (uint32_t i = 0; i < s->size; i++) r->our_used->ring[i] = (struct used_elem){i, 100};
  for (uint32_t lap = 0; lap < laps; lap++) {
    double t0 = now();
    for (uint32_t i = 0; i < s->size; i += batch) {
      *(volatile uint16_t *)&r->avail->idx = r->avail_idx + batch;
      if (split_forward(r) != (int)batch) return -1;
    }
    double t1 = now();
    for (uint32_t i = 0; i < s->size; i += batch) {
      *(volatile uint16_t *)&r->our_used->idx = r->our_used_idx + batch;
      if (split_complete(r) != (int)batch) return -1;
    }
    forward[lap] = t1 - t0;
    complete[lap] = now() - t1;
  }
  return 0;
}

/* Makes the ring's descriptors ready but for the first of each batch, whose flags go last. */
static void prepare(struct packed_desc *d, const struct packed_desc *from, uint32_t size, uint32_t batch,
                    uint16_t flags) {
  for (uint32_t i = 0; i < size; i++) {
    uint16_t before = d[i].flags;
    if (from) d[i] = from[i];
    d[i].flags = i % batch == 0 ? before : flags;
  }
}

int run_packed(const struct setup *s, uint32_t batch, uint32_t laps, double *forward, double *complete) {
  static struct packed_desc offer[MAX_SIZE];
  if (begin(s)) return -1;
  struct relay *r = &relay;
  r->ring = at(r, s->desc, 16 * s->size);
  r->ours = (struct packed_desc *)ours;
  for (uint32_t i = 0; i < s->size; i++) {
    offer[i] = r->ring[i];
    r->ring[i].flags = 0;
    r->free_ids[i] = s->size - 1 - i;
  }
  r->free_count = s->size;
  r->in_wrap = r->to_wrap = r->out_wrap = r->done_wrap = 1;
  for (uint32_t lap = 0; lap < laps; lap++) {
    uint16_t avail_flags = WRITE | (r->in_wrap ? AVAIL : USED), used_flags = WRITE | (r->done_wrap ? AVAIL | USED : 0);
    prepare(r->ring, offer, s->size, batch, avail_flags);
    double t0 = now();
    for (uint32_t i = 0; i < s->size; i += batch) {
      *(volatile uint16_t *)&r->ring[i].flags = avail_flags;
      if (packed_forward(r) != (int)batch) return -1;
    }
    double t1 = now();
    prepare(r->ours, 0, s->size, batch, used_flags);
    double t2 = now();
    for (uint32_t i = 0; i < s->size; i += batch) {
      *(volatile uint16_t *)&r->ours[i].flags = used_flags;
      if (packed_complete(r) != (int)batch) return -1;
    }
    forward[lap] = t1 - t0;
    complete[lap] = now() - t2;
  }
  memcpy(r->ring, offer, 16 * s->size);
  return 0;
}
