/*
 * The guest and the device of a round trip through a relay, as two threads that sleep on eventfds: the guest makes a
 * batch available and kicks, the relay forwards and rings the doorbell, the device completes and interrupts, the relay
 * completes and calls, the guest finds its entries used. The relay in between is the caller's (`trip_start` with
 * `relay` 0) or a third thread here: epoll around the loops of relay-ideal.c, with both sides' event indices, as ours.
 * With `guarded` it asks by poll whether the guest's eventfd takes a signal, as ours does: it is the front-end's, may be
 * a blocking one, and must not hold the relay up.
 */
#include "relay-ideal.c"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Host addresses of the guest's rings and of those that the device works on (of a packed one `avail` is the driver's area
 * and `used` the device's), and eventfds, which stay the caller's. `base` and `device_base` are the entries that have been
 * through the guest's and the device's packed ring before.
 */
struct trip {
  struct setup guest;
  uint64_t device_desc, device_avail, device_used;
  int64_t kick, call, doorbell, interrupt, done;
  uint64_t batch, rounds;
  uint64_t ns;
  uint64_t relay;
  uint64_t guarded;
  uint64_t packed, base, device_base;
};

static struct trip trip;
static struct avail *guest_avail, *device_avail;
static struct used *guest_used, *device_used;
static volatile int stopping;
static int stop_fd;
static pthread_t threads[3];

static void fail(const char *what) {
  perror(what);
  abort();
}

static void signal_fd(int fd) {
  uint64_t one = 1;
  if (write(fd, &one, 8) != 8) fail("write to an eventfd");
}

static void call_guest(void) {
  struct pollfd p = {.fd = trip.call, .events = POLLOUT};
  if (!trip.guarded || poll(&p, 1, 0) == 1) signal_fd(trip.call);
}

static void wait_fd(int fd) {
  uint64_t count;
  if (read(fd, &count, 8) != 8) fail("read of an eventfd");
}

static uint16_t *used_event(struct avail *a) { return &a->ring[trip.guest.size]; }
static uint16_t *avail_event(struct used *u) { return (uint16_t *)&u->ring[trip.guest.size]; }

/* virtio 1.3 2.7.7.2 */
static int passed(uint16_t event, uint16_t now, uint16_t before) {
  return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static uint16_t look(uint16_t *index) { return __atomic_load_n(index, __ATOMIC_ACQUIRE); }
static void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static void *end_trip(void *unused) {
  stopping = 1;
  signal_fd(trip.doorbell);
  signal_fd(stop_fd);
  signal_fd(trip.done);
  return unused;
}

#include "relay-round-trip-packed.h"

static void *run_guest(void *unused) {
  double *ns = (double *)trip.ns;
  uint16_t index = guest_avail->idx;
  for (uint64_t round = 0; round < trip.rounds; round++) {
    double t = now();
    uint16_t before = index;
    index += trip.batch;
    /* The ring's slots hold their own numbers. */
    __atomic_store_n(&guest_avail->idx, index, __ATOMIC_RELEASE);
    fence();
    if (passed(*(volatile uint16_t *)avail_event(guest_used), index, before)) signal_fd(trip.kick);
    for (;;) {
      uint16_t seen = look(&guest_used->idx);
      if (seen == index) break;
      *(volatile uint16_t *)used_event(guest_avail) = seen;
      fence();
      if (look(&guest_used->idx) == seen) wait_fd(trip.call);
    }
    ns[round] = now() - t;
  }
  return end_trip(unused);
}

static void *run_device(void *unused) {
  uint16_t index = device_used->idx;
  for (;;) {
    wait_fd(trip.doorbell);
    if (stopping) return unused;
    for (;;) {
      uint16_t seen = look(&device_avail->idx);
      if (seen == index) {
        *(volatile uint16_t *)avail_event(device_used) = index;
        fence();
        if (look(&device_avail->idx) == index) break;
        continue;
      }
      uint16_t before = index;
      for (; index != seen; index++) {
        uint32_t slot = index & (trip.guest.size - 1);
        device_used->ring[slot] = (struct used_elem){device_avail->ring[slot], 100};
      }
      __atomic_store_n(&device_used->idx, index, __ATOMIC_RELEASE);
      fence();
      if (passed(*(volatile uint16_t *)used_event(device_avail), index, before)) signal_fd(trip.interrupt);
    }
  }
}

static void split_kicked(struct relay *r) {
  for (;;) {
    uint16_t before = r->our_avail_idx;
    int moved = split_forward(r);
    if (moved < 0) fail("the C relay refused an entry");
    fence();
    if (moved > 0 && passed(*(volatile uint16_t *)avail_event(r->our_used), r->our_avail_idx, before))
      signal_fd(trip.doorbell);
    *(volatile uint16_t *)avail_event(r->used) = r->avail_idx;
    /* The event index lies in the used ring, whose pages are logged. */
    fence();
    mark(r->log, r->pages, r->used_gpa + 4 + 8 * r->s.size, 2);
    if (look(&r->avail->idx) == r->avail_idx) return;
  }
}

static void split_interrupted(struct relay *r) {
  for (;;) {
    uint16_t before = r->used_idx;
    int moved = split_complete(r);
    if (moved < 0) fail("the C relay refused a completion");
    if (moved > 0 && passed(*(volatile uint16_t *)used_event(r->avail), r->used_idx, before)) call_guest();
    *(volatile uint16_t *)used_event(r->our_avail) = r->our_used_idx;
    fence();
    if (look(&r->our_used->idx) == r->our_used_idx) return;
  }
}

static void *run_relay(void *unused) {
  struct relay *r = &relay;
  void (*relay_kicked)(struct relay *) = trip.packed ? packed_kicked : split_kicked;
  void (*relay_interrupted)(struct relay *) = trip.packed ? packed_interrupted : split_interrupted;
  int ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event kick = {.events = EPOLLIN | EPOLLET, .data.fd = trip.kick};
  struct epoll_event interrupt = {.events = EPOLLIN | EPOLLET, .data.fd = trip.interrupt};
  struct epoll_event stop = {.events = EPOLLIN, .data.fd = stop_fd};
  if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, trip.kick, &kick) || epoll_ctl(ep, EPOLL_CTL_ADD, trip.interrupt, &interrupt) ||
      epoll_ctl(ep, EPOLL_CTL_ADD, stop_fd, &stop))
    fail("epoll");
  while (!stopping) {
    struct epoll_event events[64];
    int n = epoll_wait(ep, events, 64, -1);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < n; i++) {
      if (events[i].data.fd == trip.kick) {
        relay_kicked(r);
      } else if (events[i].data.fd == trip.interrupt) {
        relay_interrupted(r);
        relay_kicked(r);
      }
    }
  }
  close(ep);
  return unused;
}

static int begin_split(struct relay *r) {
  guest_avail = at(r, trip.guest.driver, 6 + 2 * trip.guest.size);
  guest_used = at(r, trip.guest.device, 6 + 8 * trip.guest.size);
  if (!guest_avail || !guest_used) return -1;
  device_avail = trip.relay ? (struct avail *)ours : (struct avail *)trip.device_avail;
  device_used = trip.relay ? (struct used *)(ours + 8192) : (struct used *)trip.device_used;
  if (!trip.relay) return 0;
  r->table = at(r, trip.guest.desc, 16 * trip.guest.size);
  r->avail = guest_avail;
  r->used = guest_used;
  r->our_avail = device_avail;
  r->our_used = device_used;
  r->used_gpa = trip.guest.device;
  r->avail_idx = r->used_idx = guest_used->idx;
  return 0;
}

/* Starts the threads; `done` is signalled after the last round. */
int trip_start(const struct trip *t) {
  trip = *t;
  stopping = 0;
  if (begin(&t->guest) || (trip.packed ? begin_packed(&relay) : begin_split(&relay))) return -1;
  stop_fd = eventfd(0, EFD_CLOEXEC);
  if (stop_fd < 0) return -1;
  if (trip.relay && pthread_create(&threads[2], 0, run_relay, 0)) return -1;
  return pthread_create(&threads[1], 0, trip.packed ? run_packed_device : run_device, 0) ||
                 pthread_create(&threads[0], 0, trip.packed ? run_packed_guest : run_guest, 0)
             ? -1
             : 0;
}

/* Waits for the threads, which end after `done`. */
int trip_join(void) {
  int bad = pthread_join(threads[0], 0) | pthread_join(threads[1], 0);
  if (trip.relay) bad |= pthread_join(threads[2], 0);
  close(stop_fd);
  return bad ? -1 : 0;
}
