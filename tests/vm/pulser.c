/* pulser PULL HZ COUNT [PID FROM TO]
 *
 * A contact between a line of gpio-sim and ground that closes COUNT times, for half of each period. PULL is
 * the line's "pull" in sysfs. Times are absolute; after a delay they shift, so that no phase is shorter than
 * a quarter of the period. The process PID is stopped before pulse FROM and goes on before pulse TO, both
 * counted from 0; with TO = COUNT it goes on after the last. Prints the seconds that it took, and the lowest
 * and the highest rate in Hz that five or more periods in succession can have had: this process may have been
 * made to wait just before or after it closed the contact.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FEWEST 5
#define MOST (2 * FEWEST - 1) /* what is longer is made of these */

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sleep_until(long long *due_ns, long long shortest_ns)
{
	long long earliest_ns = now_ns() + shortest_ns;
	struct timespec due;

	if (*due_ns < earliest_ns)
		*due_ns = earliest_ns;
	due.tv_sec = *due_ns / 1000000000LL;
	due.tv_nsec = *due_ns % 1000000000LL;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL))
		;
}

struct moment {
	long long from_ns, to_ns; /* it lies between these */
};

static double rate(int periods, long long ns)
{
	return ns > 0 ? periods * 1e9 / ns : 1e9;
}

static void pull(int fd, const char *where)
{
	if (pwrite(fd, where, strlen(where), 0) < 0) {
		perror("pull");
		exit(1);
	}
}

static void send(pid_t pid, int signal)
{
	if (kill(pid, signal)) {
		perror("kill");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	long long start_ns, due_ns, half_ns;
	struct moment closed[MOST + 1], now, then;
	double least, most, lowest = 1e9, highest = 0;
	long i, n, count, from = -1, to = -1;
	pid_t pid = 0;
	int fd;

	if ((argc != 4 && argc != 7) || (fd = open(argv[1], O_WRONLY)) < 0) {
		perror("usage: pulser PULL HZ COUNT [PID FROM TO]");
		return 1;
	}
	half_ns = 5e8 / atof(argv[2]);
	count = atol(argv[3]);
	if (argc == 7) {
		pid = atol(argv[4]);
		from = atol(argv[5]);
		to = atol(argv[6]);
	}
	start_ns = due_ns = now_ns();
	for (i = 0; i < count; i++) {
		if (i == from)
			send(pid, SIGSTOP);
		if (i == to)
			send(pid, SIGCONT);
		now.from_ns = now_ns();
		pull(fd, "pull-down");
		now.to_ns = now_ns();
		closed[i % (MOST + 1)] = now;
		for (n = FEWEST; n <= MOST && n <= i; n++) {
			then = closed[(i - n) % (MOST + 1)];
			least = rate(n, now.to_ns - then.from_ns);
			most = rate(n, now.from_ns - then.to_ns);
			lowest = least < lowest ? least : lowest;
			highest = most > highest ? most : highest;
		}
		due_ns += half_ns;
		sleep_until(&due_ns, half_ns / 2);
		pull(fd, "pull-up");
		due_ns += half_ns;
		sleep_until(&due_ns, half_ns / 2);
	}
	if (to == count)
		send(pid, SIGCONT);
	printf("%.6f %.3f %.3f\n", (now_ns() - start_ns) / 1e9, lowest, highest);
	return 0;
}
