/* Included by relay-round-trip.c: the same three parts for packed rings, virtio 1.3 2.8. */
#define EVENT_DESC 2

/* An event suppression area. */
struct event { uint16_t at, flags; };

static struct packed_desc *guest_ring, *device_ring;
static struct event *guest_driver, *guest_device, *device_driver, *device_device;

/* A position in a ring and its wrap counter. */
struct place { uint32_t at, wrap; };

static struct place place_after(uint64_t count) {
  uint64_t size = trip.guest.size;
  return (struct place){count % size, 1 ^ (count / size & 1)};
}

static void step(struct place *p, uint32_t by) {
  if ((p->at += by) >= trip.guest.size) p->at -= trip.guest.size, p->wrap ^= 1;
}

static int marked(struct packed_desc *ring, struct place p, uint16_t one, uint16_t zero) {
  return (__atomic_load_n(&ring[p.at].flags, __ATOMIC_ACQUIRE) & (AVAIL | USED)) == (p.wrap ? one : zero);
}
static int is_avail(struct packed_desc *ring, struct place p) { return marked(ring, p, AVAIL, USED); }
static int is_used(struct packed_desc *ring, struct place p) { return marked(ring, p, AVAIL | USED, 0); }

/* Whether the other side, which wrote `e`, wants to hear of the `moved` descriptors before `p`. */
static int event_due(struct event *e, struct place p, uint32_t moved) {
  uint16_t flags = *(volatile uint16_t *)&e->flags & 3;
  if (flags != EVENT_DESC) return flags == 0;
  uint16_t event = look(&e->at);
  int32_t behind = (int32_t)p.at - (event & 0x7fff) + (event >> 15 == (uint16_t)p.wrap ? 0 : (int32_t)trip.guest.size);
  return behind >= 1 && behind <= (int32_t)moved;
}

static void ask_for(struct event *e, struct place p) {
  *(volatile uint16_t *)&e->at = p.at | p.wrap << 15;
  __atomic_store_n(&e->flags, EVENT_DESC, __ATOMIC_RELEASE);
  fence();
}

static void *run_packed_guest(void *unused) {
  double *ns = (double *)trip.ns;
  struct place in = place_after(trip.base), out = in;
  for (uint64_t round = 0; round < trip.rounds; round++) {
    double t = now();
    uint32_t head = in.at;
    uint16_t head_flags = WRITE | (in.wrap ? AVAIL : USED);
    for (uint64_t i = 0; i < trip.batch; i++, step(&in, 1)) {
      /* The buffers stay where they are, one for each slot. */
      guest_ring[in.at].len = 1536;
      guest_ring[in.at].id = in.at;
      if (i > 0) guest_ring[in.at].flags = WRITE | (in.wrap ? AVAIL : USED);
    }
    __atomic_store_n(&guest_ring[head].flags, head_flags, __ATOMIC_RELEASE);
    fence();
    if (event_due(guest_device, in, trip.batch)) signal_fd(trip.kick);
    for (uint64_t left = trip.batch; left > 0;) {
      for (; left > 0 && is_used(guest_ring, out); left--) step(&out, 1);
      if (left == 0) break;
      ask_for(guest_driver, out);
      if (!is_used(guest_ring, out)) wait_fd(trip.call);
    }
    ns[round] = now() - t;
  }
  return end_trip(unused);
}

static void *run_packed_device(void *unused) {
  struct place at = place_after(trip.device_base);
  for (;;) {
    wait_fd(trip.doorbell);
    if (stopping) return unused;
    for (;;) {
      struct place head = at;
      uint32_t moved = 0;
      for (; is_avail(device_ring, at); step(&at, 1), moved++) {
        device_ring[at.at].len = 100;
        if (moved > 0) device_ring[at.at].flags = WRITE | (at.wrap ? AVAIL | USED : 0);
      }
      if (moved == 0) {
        ask_for(device_device, at);
        if (!is_avail(device_ring, at)) break;
        continue;
      }
      __atomic_store_n(&device_ring[head.at].flags, WRITE | (head.wrap ? AVAIL | USED : 0), __ATOMIC_RELEASE);
      fence();
      if (event_due(device_driver, at, moved)) signal_fd(trip.interrupt);
    }
  }
}

static void packed_kicked(struct relay *r) {
  for (;;) {
    int moved = packed_forward(r);
    if (moved < 0) fail("the C relay refused an entry");
    fence();
    if (moved > 0 && event_due(device_device, (struct place){r->to, r->to_wrap}, moved)) signal_fd(trip.doorbell);
    struct place in = {r->in, r->in_wrap};
    ask_for(guest_device, in);
    mark(r->log, r->pages, r->s.device, 4);
    if (!is_avail(guest_ring, in)) return;
  }
}

static void packed_interrupted(struct relay *r) {
  for (;;) {
    int moved = packed_complete(r);
    if (moved < 0) fail("the C relay refused a completion");
    if (moved > 0 && event_due(guest_driver, (struct place){r->out, r->out_wrap}, moved)) call_guest();
    struct place done = {r->done, r->done_wrap};
    ask_for(device_driver, done);
    if (!is_used(device_ring, done)) return;
  }
}

static int begin_packed(struct relay *r) {
  guest_ring = at(r, trip.guest.desc, 16 * trip.guest.size);
  guest_driver = at(r, trip.guest.driver, sizeof *guest_driver);
  guest_device = at(r, trip.guest.device, sizeof *guest_device);
  if (!guest_ring || !guest_driver || !guest_device) return -1;
  device_ring = trip.relay ? (struct packed_desc *)ours : (struct packed_desc *)trip.device_desc;
  device_driver = trip.relay ? (struct event *)(ours + 32768) : (struct event *)trip.device_avail;
  device_device = trip.relay ? (struct event *)(ours + 32768 + 64) : (struct event *)trip.device_used;
  if (!trip.relay) return 0;
  struct place p = place_after(trip.base);
  r->ring = guest_ring;
  r->ours = device_ring;
  r->in = r->out = p.at;
  r->in_wrap = r->out_wrap = p.wrap;
  r->to_wrap = r->done_wrap = 1;
  for (uint32_t i = 0; i < trip.guest.size; i++) r->free_ids[i] = trip.guest.size - 1 - i;
  r->free_count = trip.guest.size;
  return 0;
}
