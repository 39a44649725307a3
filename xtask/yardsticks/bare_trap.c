/*
 * The least a guest in a process can be: a child that executes a privileged instruction, a tracer that
 * takes the signal, reads and sets registers and lets it go on. What Coracle adds is measured against this.
 *
 *   bare_trap loop N     print the nanoseconds that one of N traps takes
 *
 * It takes nothing from the tender, so that a mistake there cannot hide here.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void stop(pid_t child, int expected)
{
	int status;

	if (waitpid(child, &status, __WALL) != child)
		err(1, "waitpid");
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != expected)
		errx(1, "the child came back with status %#x", status);
}

int main(int count, char **arguments)
{
	long left = count == 3 ? atol(arguments[2]) : 0;

	if (left <= 0)
		errx(2, "usage: bare_trap loop N");
	pid_t child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			err(1, "PTRACE_TRACEME");
		raise(SIGSTOP);
		for (;;)
			__asm__ volatile("outb %%al, $0x10" ::: "memory");
	}
	stop(child, SIGSTOP);
	struct user_regs_struct registers;
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long done = 0; done < left; done++) {
		if (ptrace(PTRACE_SYSEMU, child, 0, 0))
			err(1, "PTRACE_SYSEMU");
		stop(child, SIGSEGV);
		if (ptrace(PTRACE_GETREGS, child, 0, &registers))
			err(1, "PTRACE_GETREGS");
		registers.rip += 2;
		if (ptrace(PTRACE_SETREGS, child, 0, &registers))
			err(1, "PTRACE_SETREGS");
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	kill(child, SIGKILL);
	double nanoseconds = (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
	printf("%.1f\n", nanoseconds / left);
	return 0;
}
