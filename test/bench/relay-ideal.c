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

static __attribute__((noinline)) int mark_table(struct relay *r, uint64_t gpa, uint32_t len) {
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

static int split_forward(struct relay *r) {
  uint16_t seen = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE);
  uint16_t count = seen - r->avail_idx;
  if (count + r->outstanding > r->s.size) return -1;
  /* Locals, as stores of bytes could otherwise change anything of `r` in the compiler's eyes. */
  const uint16_t *from = r->avail->ring;
  uint16_t *to = r->our_avail->ring;
  const uint32_t mask = r->mask, first = r->avail_idx, our_first = r->our_avail_idx;
  for (uint32_t i = 0; i < count; i++) {
    uint16_t head = from[(first + i) & mask];
    if (unlikely(head > mask || r->held[head])) return -1;
    r->held[head] = 1;
    to[(our_first + i) & mask] = head;
  }
  r->avail_idx += count;
  r->our_avail_idx += count;
  r->outstanding += count;
  __atomic_store_n(&r->our_avail->idx, r->our_avail_idx, __ATOMIC_RELEASE);
  return count;
}

static int split_complete(struct relay *r) {
  uint16_t seen = __atomic_load_n(&r->our_used->idx, __ATOMIC_ACQUIRE);
  uint16_t count = seen - r->our_used_idx;
  if (count > r->outstanding) return -1;
  const struct used_elem *from = r->our_used->ring;
  struct used_elem *to = r->used->ring;
  const struct split_desc *table = r->table;
  uint8_t *log = r->log;
  const uint64_t pages = r->pages;
  const uint32_t mask = r->mask, first_from = r->our_used_idx, first_to = r->used_idx;
  for (uint32_t i = 0; i < count; i++) {
    struct used_elem e = from[(first_from + i) & mask];
#ifndef TRUSTING
    if (unlikely(e.id > mask || !r->held[e.id])) return -1;
#endif
    uint32_t left = mask + 1, next = e.id;
    struct split_desc d;
    do {
#ifndef TRUSTING
      if (unlikely(next > mask)) return -1;
#endif
      if (unlikely(left-- == 0)) return -1;
      d = table[next];
      if (unlikely(d.flags & INDIRECT)) {
        if (mark_table(r, d.addr, d.len)) return -1;
        break;
      }
      if (d.flags & WRITE && unlikely(mark(log, pages, d.addr, d.len))) return -1;
      next = d.next;
    } while (d.flags & NEXT);
    r->held[e.id] = 0;
    to[(first_to + i) & mask] = e;
  }
  uint32_t slot = r->used_idx & r->mask;
  r->our_used_idx += count;
  r->used_idx += count;
  r->outstanding -= count;
  /* Sequentially consistent, so that the look at the log below does not overtake it. */
  __atomic_store_n(&r->used->idx, r->used_idx, __ATOMIC_SEQ_CST);
  uint32_t first = count <= r->s.size - slot ? count : r->s.size - slot;
  int bad = mark(log, pages, r->used_gpa + 2, 2) | mark(log, pages, r->used_gpa + 4 + 8 * slot, 8 * first);
  if (first < count) bad |= mark(log, pages, r->used_gpa + 4, 8 * (count - first));
  return bad ? -1 : count;
}

static int packed_forward(struct relay *r) {
  const struct packed_desc *ring = r->ring;
  struct packed_desc *ours = r->ours;
  const uint32_t size = r->s.size;
  uint32_t in = r->in, in_wrap = r->in_wrap, to = r->to, to_wrap = r->to_wrap;
  uint32_t outstanding = r->outstanding, free_count = r->free_count;
  int32_t head = -1;
  uint16_t head_flags = 0;
  int count = 0;
  for (;;) {
    uint16_t flags = __atomic_load_n(&ring[in].flags, __ATOMIC_ACQUIRE);
    if ((flags & (AVAIL | USED)) != (in_wrap ? AVAIL : USED)) break;
    if (unlikely(free_count == 0)) return -1;
    uint16_t id = r->free_ids[--free_count];
    uint32_t slots = 0;
    int32_t before = -1;
    for (;;) {
      if (unlikely(outstanding++ == size)) return -1;
      struct packed_desc d = ring[in];
      d.flags &= NEXT | WRITE | INDIRECT;
      /* A chain's first copy is at its id, the others at ids that it uses up with it. */
      uint16_t copy = id;
      if (slots > 0) {
        if (unlikely(free_count == 0)) return -1;
        copy = r->free_ids[--free_count];
        r->rest[before] = copy;
      }
      r->saved[copy] = d;
      before = copy;
      r->guest_id[id] = d.id;
      uint16_t shown = d.flags | (to_wrap ? AVAIL : USED);
      ours[to].addr = d.addr;
      ours[to].len = d.len;
      ours[to].id = id;
      if (head < 0) {
        head = to;
        head_flags = shown;
      } else {
        ours[to].flags = shown;
      }
      slots++;
      if (++in == size) in = 0, in_wrap ^= 1;
      if (++to == size) to = 0, to_wrap ^= 1;
      if (!(d.flags & NEXT)) break;
    }
    r->slots[id] = slots;
    r->held[id] = 1;
    count++;
  }
  r->in = in, r->in_wrap = in_wrap, r->to = to, r->to_wrap = to_wrap;
  r->outstanding = outstanding, r->free_count = free_count;
  if (head >= 0) __atomic_store_n(&ours[head].flags, head_flags, __ATOMIC_RELEASE);
  return count;
}

static int packed_complete(struct relay *r) {
  struct packed_desc *ring = r->ring;
  const struct packed_desc *ours = r->ours;
  uint8_t *log = r->log;
  const uint64_t pages = r->pages;
  const uint32_t size = r->s.size, first = r->out;
  uint32_t out = r->out, out_wrap = r->out_wrap, done = r->done, done_wrap = r->done_wrap;
  uint32_t free_count = r->free_count, first_flags = 0, moved = 0;
  int count = 0;
  for (;;) {
    uint16_t flags = __atomic_load_n(&ours[done].flags, __ATOMIC_ACQUIRE);
    if ((flags & (AVAIL | USED)) != (done_wrap ? AVAIL | USED : 0)) break;
    uint16_t id = ours[done].id;
    uint32_t len = ours[done].len;
    if (unlikely(id >= size || !r->held[id])) return -1;
    uint16_t copy = id;
    uint32_t slots = r->slots[id];
    for (uint32_t i = 0; i < slots; i++) {
      struct packed_desc d = r->saved[copy];
      if (unlikely(d.flags & INDIRECT)) {
        if (mark_table(r, d.addr, d.len)) return -1;
      } else if (d.flags & WRITE && unlikely(mark(log, pages, d.addr, d.len))) {
        return -1;
      }
      r->free_ids[free_count++] = copy;
      copy = r->rest[copy];
    }
    r->held[id] = 0;
    uint16_t shown = (flags & WRITE) | (out_wrap ? AVAIL | USED : 0);
    ring[out].len = len;
    ring[out].id = r->guest_id[id];
    if (count == 0) first_flags = shown;
    else ring[out].flags = shown;
    count++;
    moved += slots;
    if ((out += slots) >= size) out -= size, out_wrap ^= 1;
    if ((done += slots) >= size) done -= size, done_wrap ^= 1;
  }
  if (count == 0) return 0;
  r->out = out, r->out_wrap = out_wrap, r->done = done, r->done_wrap = done_wrap;
  r->free_count = free_count;
  r->outstanding -= moved;
  /* Sequentially consistent, so that the look at the log below does not overtake it. */
  __atomic_store_n(&ring[first].flags, first_flags, __ATOMIC_SEQ_CST);
  uint32_t up = moved <= size - first ? moved : size - first;
  int bad = mark(log, pages, r->s.desc + 16 * first, 16 * up);
  if (up < moved) bad |= mark(log, pages, r->s.desc, 16 * (moved - up));
  return bad ? -1 : count;
}

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
