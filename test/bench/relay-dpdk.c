/*
 * DPDK's relay of used elements as a contender: a vhost-user back-end of DPDK's vhost library to which a front-end
 * connects with LOG_ALL and a log, and then rte_vdpa_relay_vring_used called in a loop on a mediated ring of ours, as
 * the ifc driver does. The function is exported for DPDK's own drivers, so that its prototype is repeated here.
 *
 * Usage: relay-dpdk SOCKET SIZE BATCH LAPS [EAL argument...]. Prints "listening", then, once ring 0 runs, "running".
 * For each line on stdin it runs LAPS laps of the ring and prints the median lap's nanoseconds. Ends with stdin.
 * The version of DPDK comes first of all.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <linux/virtio_ring.h>
#include <rte_eal.h>
#include <rte_version.h>
#include <rte_vhost.h>

int rte_vdpa_relay_vring_used(int vid, uint16_t qid, void *vring_m);

static volatile int running = -1;

static int new_device(int vid) {
  running = vid;
  puts("running");
  fflush(stdout);
  return 0;
}

static void destroy_device(int vid) { (void)vid; }

static const struct rte_vhost_device_ops ops = {.new_device = new_device, .destroy_device = destroy_device};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int die(const char *what) {
  fprintf(stderr, "relay-dpdk: %s\n", what);
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 5) return die("usage: SOCKET SIZE BATCH LAPS [EAL argument...]");
  puts(rte_version());
  const char *path = argv[1];
  unsigned size = atoi(argv[2]), batch = atoi(argv[3]), laps = atoi(argv[4]);
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  argv[4] = argv[0];
  if (rte_eal_init(argc - 4, argv + 4) < 0) return die("no EAL");
  /* EAL has bound this thread to one core; the others here run on any. */
  sched_setaffinity(0, sizeof cpus, &cpus);

  if (rte_vhost_driver_register(path, 0) || rte_vhost_driver_callback_register(path, &ops) ||
      rte_vhost_driver_start(path))
    return die("no vhost-user socket");
  puts("listening");
  fflush(stdout);

  void *memory = aligned_alloc(4096, vring_size(size, 4096) + 4096);
  struct vring mediated;
  vring_init(&mediated, size, memory, 4096);
  mediated.used->idx = 0;
  for (unsigned i = 0; i < size; i++) mediated.used->ring[i] = (struct vring_used_elem){i, 100};

  double *ns = calloc(laps, sizeof *ns);
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    if (running < 0) return die("asked to run before the ring does");
    for (unsigned lap = 0; lap < laps; lap++) {
      double t = now();
      for (unsigned i = 0; i < size; i += batch) {
        *(volatile uint16_t *)&mediated.used->idx = mediated.used->idx + batch;
        if (rte_vdpa_relay_vring_used(running, 0, &mediated) != (int)batch) return die("the relay failed");
      }
      ns[lap] = now() - t;
    }
    qsort(ns, laps, sizeof *ns, compare);
    printf("%f\n", ns[laps / 2]);
    fflush(stdout);
  }
  rte_vhost_driver_unregister(path);
  return 0;
}
