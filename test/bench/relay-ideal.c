// The used side of a split relay as a plain loop: what the TypeScript relay is measured against.
#include <stdint.h>

struct desc { uint64_t addr; uint32_t len; uint16_t flags, next; };
struct used_elem { uint32_t id, len; };

void relay_used(volatile uint16_t *device_idx, const struct used_elem *device, uint16_t *guest_idx,
                struct used_elem *guest, const struct desc *table, uint8_t *log, uint32_t size, uint32_t batch,
                uint64_t rounds) {
  uint16_t at = 0;
  for (uint64_t r = 0; r < rounds; r++) {
    *device_idx = at + batch;
    uint16_t seen = __atomic_load_n(device_idx, __ATOMIC_ACQUIRE);
    for (; at != seen; at++) {
      uint32_t slot = at & (size - 1);
      struct used_elem e = device[slot];
      if (e.id >= size) return;
      const struct desc *d = &table[e.id];
      uint64_t last = (d->addr + d->len - 1) >> 12;
      for (uint64_t page = d->addr >> 12; page <= last; page++) {
        uint8_t bit = 1 << (page & 7);
        if (!(log[page >> 3] & bit)) __atomic_fetch_or(&log[page >> 3], bit, __ATOMIC_RELAXED);
      }
      guest[slot] = e;
    }
    __atomic_fetch_or(&log[0], 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(guest_idx, at, __ATOMIC_SEQ_CST);
  }
}
