/* Included by relay-ideal.c, which says what is done here. */
/* Shows the guest `count` more used elements, and logs the pages of the used ring that they lie in. */
static int split_publish(struct relay *r, uint16_t count) {
  uint8_t *log = r->log;
  const uint64_t pages = r->pages;
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

#ifdef CHECKED
#include "relay-split-checked.h"
#else

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
  return split_publish(r, count);
}

#endif
