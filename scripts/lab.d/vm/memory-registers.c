// Loaded into QEMU beside its own libraries: the virtio devices that are named in LAB_MEMORY_REGISTERS ("one,other") have
// their legacy registers in a memory BAR. QEMU asks for an I/O BAR in every case, in pci_register_bar(device, number, type,
// region); that function gets another start here, which changes the type for BAR 0 of those devices and nothing else.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY = 0, IO = 1 };
// mov $replacement, %rax; jmp *%rax
enum { JUMP = 12 };

typedef void register_bar(void *device, int number, uint8_t type, void *region);
typedef const char *name_of(const void *object);

static unsigned char *start;
static unsigned char original[JUMP], jump[JUMP];
static name_of *device_name;

static void fail(const char *what)
{
  fprintf(stderr, "memory-registers: %s\n", what);
  exit(1);
}

static int named(const char *device)
{
  const char *names = getenv("LAB_MEMORY_REGISTERS");
  for (size_t length; device != NULL && names != NULL && *names != '\0'; names += length + (names[length] == ',')) {
    length = strcspn(names, ",");
    if (strlen(device) == length && strncmp(names, device, length) == 0)
      return 1;
  }
  return 0;
}

// QEMU makes devices one at a time, under a lock of its own.
static void replacement(void *device, int number, uint8_t type, void *region)
{
  if (number == 0 && type == IO && named(device_name(device))) {
    fprintf(stderr, "memory-registers: BAR 0 of %s is memory\n", device_name(device));
    type = MEMORY;
  }
  memcpy(start, original, JUMP);
  ((register_bar *)start)(device, number, type, region);
  memcpy(start, jump, JUMP);
}

__attribute__((constructor)) static void install(void)
{
  start = dlsym(RTLD_DEFAULT, "pci_register_bar");
  device_name = (name_of *)dlsym(RTLD_DEFAULT, "object_get_canonical_path_component");
  if (start == NULL || device_name == NULL)
    fail("this QEMU has no such functions");
  uintptr_t page = sysconf(_SC_PAGESIZE);
  uintptr_t from = (uintptr_t)start & -page;
  if (mprotect((void *)from, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
    fail("its code can not be changed");
  uintptr_t target = (uintptr_t)replacement;
  memcpy(original, start, JUMP);
  memcpy(jump, "\x48\xb8", 2);
  memcpy(jump + 2, &target, sizeof target);
  memcpy(jump + 10, "\xff\xe0", 2);
  memcpy(start, jump, JUMP);
}
