/*
 * The least a virtual machine can be: only the KVM calls that a guest at CPL 3 needs before its
 * first `out`, and the memory that they refer to. What Coracle adds is measured against this.
 *
 *   bare_kvm             start a guest, run it to its first exit, end
 *   bare_kvm loop N      print the nanoseconds that one of N further exits takes
 *   bare_kvm call PAGES N
 *                        print the median nanoseconds of N runs that write to PAGES pages each, with what
 *                        it takes to make these pages and the registers what they were: KVM's dirty log
 *                        with manual protection, and copying
 *   bare_kvm new PAGES N print the median nanoseconds of making a guest of memory that is in a file, and
 *                        running it once, of N
 *   bare_kvm idle N      print the bytes of memory that a guest takes which has not run, of N
 *   bare_kvm spin MS     let the guest compute for about MS milliseconds without an exit of its own
 *                        and print how many exits a second KVM counted all the same
 *
 * It takes nothing from the tender, so that a mistake there cannot hide here.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (64u << 20)
#define MOST_PAGES 1024
#define RUNS 100000

/* Guest-physical places, which are the guest-virtual ones too. Only CODE and STACK are the guest's. */
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, PT_DATA = 0xb000 };
enum { GDT = 0x5000, IDT = 0x6000, TSS = 0x7000, STUB = 0x8000, STUB_STACK = 0xa000 };
enum { CODE = 0x10000, STACK = 0x11000, STACK_TOP = 0x12000, DATA = 0x200000 };

enum { PORT_CALL = 0x10, PORT_FAULT = 0x11 };
enum { SEL_CODE0 = 0x08, SEL_TSS = 0x10, SEL_DATA3 = 0x20 | 3, SEL_CODE3 = 0x28 | 3 };

/* Page-table bits. Accessed and dirty are set from the start, so that the walk never writes them. */
#define P 0x1ull
#define W 0x2ull
#define U 0x4ull
#define AD 0x60ull
#define NX (1ull << 63)

static uint8_t *memory;
static struct kvm_run *run;
static int vcpu;

static void *at(uint64_t address)
{
	return memory + address;
}

static void call(int fd, unsigned long request, const void *argument, const char *name)
{
	if (ioctl(fd, request, argument) < 0)
		err(1, "%s", name);
}

static void build_page_tables(void)
{
	uint64_t *pt = at(PT);

	*(uint64_t *)at(PML4) = PDPT | P | W | U | AD;
	*(uint64_t *)at(PDPT) = PD | P | W | U | AD;
	*(uint64_t *)at(PD) = PT | P | W | U | AD;
	for (uint64_t page = PML4; page < STUB; page += 0x1000)
		pt[page >> 12] = page | P | W | AD | NX;
	pt[STUB >> 12] = STUB | P | AD;
	pt[(STUB_STACK - 1) >> 12] = (STUB_STACK - 0x1000) | P | W | AD | NX;
	pt[CODE >> 12] = CODE | P | U | AD;
	pt[STACK >> 12] = STACK | P | W | U | AD | NX;

	uint64_t *data = at(PT_DATA);
	for (int table = 0; table < MOST_PAGES / 512; table++)
		((uint64_t *)at(PD))[1 + table] = (PT_DATA + 0x1000ull * table) | P | W | U | AD;
	for (uint64_t page = 0; page < MOST_PAGES; page++)
		data[page] = (DATA + page * 0x1000) | P | W | U | AD | NX;
}

/* GDT, a TSS with an I/O bitmap that opens both ports, and an IDT whose gates all lead to the stub. */
static void build_descriptors(void)
{
	static const uint8_t stub[] = { 0xe6, PORT_FAULT, 0xf4 }; /* out %al, $PORT_FAULT; hlt */
	const uint16_t tss_limit = 104 + 4;
	uint64_t *gdt = at(GDT), *idt = at(IDT);
	uint8_t *tss = at(TSS);

	gdt[SEL_CODE0 >> 3] = 0x00af9b000000ffffull;
	gdt[SEL_TSS >> 3] = tss_limit | (uint64_t)TSS << 16 | 0x8bull << 40;
	gdt[SEL_DATA3 >> 3] = 0x00cff3000000ffffull;
	gdt[SEL_CODE3 >> 3] = 0x00affb000000ffffull;

	*(uint64_t *)(tss + 4) = STUB_STACK;
	*(uint16_t *)(tss + 102) = 104;
	memset(tss + 104, 0xff, 5);
	tss[104 + PORT_CALL / 8] &= (uint8_t)~(1u << PORT_CALL % 8 | 1u << PORT_FAULT % 8);

	for (int vector = 0; vector < 32; vector++)
		idt[2 * vector] = STUB | (uint64_t)SEL_CODE0 << 16 | 0x8eull << 40;
	memcpy(at(STUB), stub, sizeof stub);
}

/* Writes to rcx pages from rdi on, then `out`. */
static void build_writer(void)
{
	static const uint8_t guest[] = {
		0x48, 0x85, 0xc9,                         /* 0: test %rcx, %rcx   */
		0x74, 0x0f,                               /*    jz 1f             */
		0xc6, 0x07, 0x01,                         /*    movb $1, (%rdi)   */
		0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /*    add $0x1000, %rdi */
		0x48, 0xff, 0xc9,                         /*    dec %rcx          */
		0xeb, 0xec,                               /*    jmp 0b            */
		0xe6, PORT_CALL,                          /* 1: out %al, $PORT_CALL */
	};
	memcpy(at(CODE), guest, sizeof guest);
}

/* `work` rounds of nothing (rcx), then `out`, for ever. */
static void build_guest(void)
{
	static const uint8_t guest[] = {
		0x48, 0x89, 0xd9,       /* 0: mov %rbx, %rcx */
		0x48, 0xff, 0xc9,       /* 1: dec %rcx       */
		0x75, 0xfb,             /*    jnz 1b         */
		0xe6, PORT_CALL,        /*    out %al, $PORT_CALL */
		0xeb, 0xf4,             /*    jmp 0b         */
	};
	memcpy(at(CODE), guest, sizeof guest);
}

/* The nine leaves that a program at CPL 3 looks at, as the host's CPU gives them. Returns XCR0. */
static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[9];
} table;
static uint64_t xcr0;

static void read_cpuid(void)
{
	static const uint32_t leaves[][2] = {
		{ 0, 0 }, { 1, 0 }, { 7, 0 }, { 0xd, 0 }, { 0xd, 1 },
		{ 0x80000000, 0 }, { 0x80000001, 0 }, { 0x80000007, 0 }, { 0x80000008, 0 },
	};

	table.head.nent = sizeof leaves / sizeof *leaves;
	for (uint32_t i = 0; i < table.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &table.entry[i];
		e->function = leaves[i][0];
		e->index = leaves[i][1];
		if (e->function == 7 || e->function == 0xd)
			e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		__cpuid_count(e->function, e->index, e->eax, e->ebx, e->ecx, e->edx);
		if (e->function == 0xd && e->index == 0)
			xcr0 = e->eax &= 0xe7; /* without AMX, which a process must ask leave for */
	}
}

/* Gives the vCPU the table, which is read once. */
static uint64_t cpuid(void)
{
	if (table.head.nent == 0)
		read_cpuid();
	call(vcpu, KVM_SET_CPUID2, &table, "KVM_SET_CPUID2");
	return xcr0;
}

static void set_state(uint64_t xcr0, uint64_t work)
{
	const struct kvm_segment code = {
		.limit = ~0u, .selector = SEL_CODE3, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1,
	};
	const struct kvm_segment data = {
		.limit = ~0u, .selector = SEL_DATA3, .type = 3, .present = 1, .dpl = 3, .s = 1, .db = 1, .g = 1,
	};
	const struct kvm_sregs sregs = {
		.cs = code, .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
		.tr = { .base = TSS, .limit = 104 + 4, .selector = SEL_TSS, .type = 11, .present = 1 },
		.ldt = { .unusable = 1 },
		.gdt = { .base = GDT, .limit = 6 * 8 - 1 },
		.idt = { .base = IDT, .limit = 32 * 16 - 1 },
		.cr0 = 0x80010033, /* PG WP NE ET MP PE */
		.cr3 = PML4,
		.cr4 = 0x50620,    /* OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PAE */
		.efer = 0xd00,     /* NXE LMA LME */
		.apic_base = 0xfee00900,
	};
	const struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = xcr0 } } };
	const struct kvm_regs regs = {
		.rip = CODE, .rsp = STACK_TOP, .rbx = work, .rflags = 0x3202, /* IOPL 3, IF */
	};

	call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(vcpu, KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS");
	call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

static int kvm, vm;

static void open_kvm(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(1, "/dev/kvm");
}

/* A VM of `memory`, with a vCPU that has no state yet. */
static void create(uint32_t flags)
{
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		err(1, "KVM_CREATE_VM");
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		err(1, "KVM_GET_VCPU_MMAP_SIZE");

	if (flags & KVM_MEM_LOG_DIRTY_PAGES) {
		const struct kvm_enable_cap manual = {
			.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE },
		};
		call(vm, KVM_ENABLE_CAP, &manual, "KVM_ENABLE_CAP");
	}
	const struct kvm_userspace_memory_region slot = {
		.flags = flags, .memory_size = MEMORY, .userspace_addr = (uintptr_t)memory,
	};
	call(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		err(1, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		err(1, "mmap of the vCPU");
}

static void map(int fd)
{
	int flags = MAP_PRIVATE | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap of guest memory");
}

static void start(uint64_t work)
{
	open_kvm();
	map(-1);
	create(0);
	build_page_tables();
	build_descriptors();
	build_guest();
	set_state(cpuid(), work);
}

static void run_to_exit(void)
{
	if (ioctl(vcpu, KVM_RUN, 0) < 0)
		err(1, "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT_CALL)
		errx(1, "unexpected exit %u, port %#x", run->exit_reason, run->io.port);
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void loop(long count)
{
	for (long i = 0; i < count / 10; i++)
		run_to_exit();
	double begin = seconds();
	for (long i = 0; i < count; i++)
		run_to_exit();
	printf("%.1f\n", (seconds() - begin) * 1e9 / (double)count);
}

static int ascending(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

static void print_median(double *seconds, long count)
{
	qsort(seconds, (size_t)count, sizeof *seconds, ascending);
	printf("%.1f\n", seconds[count / 2] * 1e9);
}

/* The memory of a guest that writes pages, in a file. */
static int file_of_writer(void)
{
	int fd = memfd_create("bare", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, MEMORY) < 0)
		err(1, "memfd");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap of the file");
	build_page_tables();
	build_descriptors();
	build_writer();
	memset(at(DATA), 0, MOST_PAGES * 0x1000);
	return fd;
}

static struct kvm_regs writer(long pages)
{
	return (struct kvm_regs) {
		.rip = CODE, .rsp = STACK_TOP, .rcx = (uint64_t)pages, .rdi = DATA, .rflags = 0x3202,
	};
}

static void call_loop(long pages, long count)
{
	static uint64_t bits[MEMORY / 0x1000 / 64];
	static double times[RUNS];
	int fd = file_of_writer();
	const uint8_t *base = memory;

	open_kvm();
	map(fd);
	create(KVM_MEM_LOG_DIRTY_PAGES);
	set_state(cpuid(), 0);
	const struct kvm_regs regs = writer(pages);
	struct kvm_dirty_log log = { .dirty_bitmap = bits };
	for (long i = -count / 10; i < count; i++) {
		double begin = seconds();
		call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
		run_to_exit();
		call(vm, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG");
		for (size_t word = 0; word < MEMORY / 0x1000 / 64; word++)
			for (uint64_t left = bits[word]; left; left &= left - 1) {
				size_t page = word * 64 + (size_t)__builtin_ctzll(left);
				memcpy(memory + page * 0x1000, base + page * 0x1000, 0x1000);
			}
		if (i >= 0)
			times[i] = seconds() - begin;
	}
	print_median(times, count);
}

static void new_loop(long pages, long count)
{
	static double times[RUNS];
	int fd = file_of_writer();
	int size;

	open_kvm();
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	for (long i = -1; i < count; i++) {
		const struct kvm_regs regs = writer(pages);
		double begin = seconds();
		map(fd);
		create(KVM_MEM_LOG_DIRTY_PAGES);
		set_state(cpuid(), 0);
		call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
		run_to_exit();
		if (i >= 0)
			times[i] = seconds() - begin;
		munmap(run, (size_t)size);
		close(vcpu);
		close(vm);
		munmap(memory, MEMORY);
	}
	print_median(times, count);
}

static double available(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "r");
	char line[256];
	double kib;

	while (meminfo && fgets(line, sizeof line, meminfo))
		if (sscanf(line, "MemAvailable: %lf", &kib) == 1) {
			fclose(meminfo);
			return kib * 1024;
		}
	errx(1, "no MemAvailable in /proc/meminfo");
}

/* What is available once that no longer changes: the kernel frees what ended processes had seconds later.
 * After a minute, what there is then. */
static double settled(void)
{
	double first = available();

	for (int alike = 0, looks = 0; alike < 20 && looks < 300; looks++) {
		double now;

		usleep(200000);
		now = available();
		alike = now - first < 1048576 && first - now < 1048576 ? alike + 1 : 0;
		if (alike == 0)
			first = now;
	}
	return first;
}

static void idle(long count)
{
	int fd = file_of_writer();
	double before = 0;

	open_kvm();
	for (long i = -8; i < count; i++) {
		if (i == 0)
			before = settled();
		map(fd);
		create(KVM_MEM_LOG_DIRTY_PAGES);
		set_state(cpuid(), 0);
	}
	printf("%.1f\n", (before - settled()) / (double)count);
}

/* KVM's own count of this vCPU's exits, from its binary statistics. */
static uint64_t exits(void)
{
	static struct {
		struct kvm_stats_desc fixed;
		char name[256];
	} desc;
	static int fd = -1;
	static off_t place;
	uint64_t value;

	if (fd < 0) {
		struct kvm_stats_header head;
		fd = ioctl(vcpu, KVM_GET_STATS_FD, 0);
		if (fd < 0 || pread(fd, &head, sizeof head, 0) != sizeof head)
			err(1, "KVM_GET_STATS_FD");
		size_t size = sizeof desc.fixed + head.name_size;
		for (uint32_t i = 0; i < head.num_desc && place == 0; i++) {
			off_t from = (off_t)(head.desc_offset + i * size);
			if (size > sizeof desc || pread(fd, &desc, size, from) != (ssize_t)size)
				err(1, "statistics descriptor");
			if (strcmp(desc.fixed.name, "exits") == 0)
				place = head.data_offset + desc.fixed.offset;
		}
		if (place == 0)
			errx(1, "this KVM does not count exits");
	}
	if (pread(fd, &value, sizeof value, place) != sizeof value)
		err(1, "statistics");
	return value;
}

static void spin(long milliseconds)
{
	double begin = seconds();
	run_to_exit();
	double one = seconds() - begin;
	long rounds = (long)((double)milliseconds * 1e-3 / one) + 1;

	uint64_t before = exits();
	begin = seconds();
	for (long i = 0; i < rounds; i++)
		run_to_exit();
	double elapsed = seconds() - begin;
	printf("%.1f\n", ((double)(exits() - before) - (double)rounds) / elapsed);
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		start(1);
		run_to_exit();
	} else if (argc == 3 && strcmp(argv[1], "loop") == 0) {
		start(1);
		loop(atol(argv[2]));
	} else if (argc == 3 && strcmp(argv[1], "spin") == 0) {
		start(1ull << 28);
		run_to_exit();
		spin(atol(argv[2]));
	} else if (argc == 4 && strcmp(argv[1], "call") == 0 && atol(argv[3]) <= RUNS) {
		call_loop(atol(argv[2]), atol(argv[3]));
	} else if (argc == 4 && strcmp(argv[1], "new") == 0 && atol(argv[3]) <= RUNS) {
		new_loop(atol(argv[2]), atol(argv[3]));
	} else if (argc == 3 && strcmp(argv[1], "idle") == 0) {
		idle(atol(argv[2]));
	} else {
		errx(2, "usage: bare_kvm [loop N | call PAGES N | new PAGES N | idle N | spin MS]");
	}
	return 0;
}
