/* Included by relay-ideal.c, which says what is done here. */
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
#ifdef CHECKED
      if (unlikely(note(id, d.addr, d.len, d.flags))) return -1;
#endif
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
#ifdef CHECKED
    uint32_t slots = 1;
    if (unlikely(finish(log, pages, id, len))) return -1;
    r->free_ids[free_count++] = id;
#else
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
#endif
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
