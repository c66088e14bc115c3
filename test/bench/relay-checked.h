/*
 * Included by relay-ideal.c with CHECKED defined: the plain path of the relay of this project, step by step, in C. What
 * is slower than the ideal loops here is the price of the checks, and what is slower than this in TypeScript that of the
 * language. `forward` reads every field of a descriptor once, checks that its buffer is guest memory before the device
 * gets it, and notes the pages to log, how much can be written, and the order; `complete` goes by these notes, so that it
 * does not depend on what the guest's descriptors say by then, and finds lengths that no device may write. A chain that
 * is not one plain buffer would take another path and is refused, so that these loops have less code than a whole relay.
 */
#define READ_ONLY (-1)
#define FREE_CHAIN (-3)
#define TWO_PAGES (1 << 30)

static struct {
  int32_t first_page, last_page;
  uint32_t forwarded;
  int32_t plain[MAX_SIZE];
  uint32_t writable[MAX_SIZE], since[MAX_SIZE];
} notes;

static void begin_notes(const struct relay *r) {
  notes.first_page = r->s.gpa >> 12;
  notes.last_page = ((r->s.gpa + r->s.bytes) >> 12) - 1;
  notes.forwarded = 0;
  for (uint32_t i = 0; i < MAX_SIZE; i++) notes.plain[i] = FREE_CHAIN;
}

/* Notes a chain of one buffer; -1 where it is anything else. */
static inline int note(uint32_t id, uint64_t addr, uint32_t len, uint16_t flags) {
  uint64_t page = addr >> 12, last = (addr + len - 1) >> 12;
  if (unlikely(flags & (NEXT | INDIRECT) || addr >> 42 || (int32_t)len <= 0)) return -1;
  if (unlikely(page < (uint64_t)notes.first_page || last > (uint64_t)notes.last_page)) return -1;
  if (flags & WRITE && unlikely(last - page > 1)) return -1;
  notes.plain[id] = flags & WRITE ? (int32_t)page | (last > page ? TWO_PAGES : 0) : READ_ONLY;
  notes.writable[id] = flags & WRITE ? len : 0;
  notes.since[id] = notes.forwarded++;
  return 0;
}

/* Marks what was noted of a chain that the device has used, which is free from then on. */
static inline int finish(uint8_t *log, uint64_t pages, uint32_t id, uint32_t len) {
  int32_t noted = notes.plain[id];
  if (unlikely(noted < READ_ONLY || len > notes.writable[id])) return -1;
  if (noted >= 0) {
    uint64_t page = noted & (TWO_PAGES - 1);
    if (unlikely(mark(log, pages, page << 12, noted & TWO_PAGES ? 4097 : 1))) return -1;
  }
  notes.plain[id] = FREE_CHAIN;
  return 0;
}
