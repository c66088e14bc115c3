/* Included by relay-split.h: the loops that go by the notes of relay-checked.h. */
static int split_forward(struct relay *r) {
  uint16_t seen = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE);
  uint16_t count = seen - r->avail_idx;
  if (count + r->outstanding > r->s.size) return -1;
  const volatile struct split_desc *table = r->table;
  const uint16_t *from = r->avail->ring;
  uint16_t *to = r->our_avail->ring;
  const uint32_t mask = r->mask, first = r->avail_idx, our_first = r->our_avail_idx;
  for (uint32_t i = 0; i < count; i++) {
    uint16_t head = *(const volatile uint16_t *)&from[(first + i) & mask];
    if (unlikely(head > mask || notes.plain[head] != FREE_CHAIN)) return -1;
    if (unlikely(note(head, table[head].addr, table[head].len, table[head].flags))) return -1;
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
  uint8_t *log = r->log;
  const uint64_t pages = r->pages;
  const uint32_t mask = r->mask, first_from = r->our_used_idx, first_to = r->used_idx;
  for (uint32_t i = 0; i < count; i++) {
    struct used_elem e = from[(first_from + i) & mask];
    if (unlikely(e.id > mask || finish(log, pages, e.id, e.len))) return -1;
    to[(first_to + i) & mask] = e;
  }
  return split_publish(r, count);
}
