/*
 * Runs an Arduino's firmware cycle by cycle and writes down what its pins and its serial port do.
 *
 *   runner --mcu atmega328p --elf FILE --trace FILE --script FILE     as fast as it goes, the same every time
 *   runner --mcu atmega328p --elf FILE --trace FILE --pty [--input PIN:PERIOD_MS:HIGH_MS]...
 *          [--wire PIN:UDP_PORT]...                                   paced to real time; prints the terminal's path,
 *                                                                     ends when its standard input does
 *
 * It is a program of its own because libsimavr is under the GPL.
 *
 * A script has one order a line, in the order of time, which is in CPU cycles:
 *   CYCLE rx HEX        bytes on the wire, one behind the other, the first one's start bit at CYCLE
 *   CYCLE pin N LEVEL   the world drives a pin
 *   CYCLE hang main     the main loop stops dead, interrupts go on
 *   CYCLE hang all      with interrupts off
 *   CYCLE end
 *
 * A wire goes from a pin to another program on this computer, such as a camera's trigger input: for each rising edge it
 * gets a datagram at that port of 127.0.0.1, with the cycle as 8 bytes, lowest first.
 *
 * The trace has one JSON object a line. All have `cycle` and `host_ns`; `board_us` is cycle / 16. Then one of:
 *   pin, high, driven   a pin has changed; not driven = it floats, and the rig's resistor decides
 *   rx                  a byte has arrived; `lost` = the chip had no room for it
 *   tx                  a byte was handed to the port
 *   reset               the chip was reset; its MCUSR
 *   end                 `stack`: bytes between variables and stack that nobody ever wrote to
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>
#include <simavr/sim_elf.h>

#define HZ 16000000u
#define CYCLES_PER_US 16u
#define BYTE_CYCLES 160u /* ten bits at 1 Mbaud */
#define SLICE_US 100u
#define LATE_NS 20000000 /* a host this late is not caught up with: time-outs would fire early */
#define HARDWARE_FIFO 2  /* bytes that the chip holds while nobody reads them; the emulator would hold 64 */
#define OFFER_CYCLES 4
#define MAX_PORTS 12
#define MAX_WAVES 8
#define MAX_WIRES 8
#define MAX_PINS 70
#define NOINIT_BYTES 2
#define PAINT 0xA5 /* what untouched memory holds */

static const char UNO_PORTS[] = "DDDDDDDDBBBBBBCCCCCC";
static const char UNO_BITS[] = "01234567012345012345";
static const char MEGA_PORTS[] = "EEEEGEHHHHBBBBJJHHDDDDAAAAAAAACCCCCCCCDGGGLLLLLLLLBBBBFFFFFFFFKKKKKKKK";
static const char MEGA_BITS[] = "0145533456456710103210012345677654321072107654321032100123456701234567";

struct port {
	char name;
	avr_io_addr_t port, ddr;
	uint8_t high, driven;       /* as last written down */
	uint8_t outside, outside_mask; /* what the world drives */
};

struct wave {
	int pin;
	uint64_t period, high, next;
};

struct wire {
	int pin;
	struct sockaddr_in to;
};

static avr_t *avr;
static avr_uart_t *uart;
static FILE *trace;
static struct port ports[MAX_PORTS];
static int port_count;
static const char *pin_ports, *pin_bits;

/* Bytes on their way to the chip. */
static uint8_t wire[65536];
static size_t wire_head, wire_tail;
static uint64_t wire_free; /* cycle at which the next byte may begin */

/* Bytes that have arrived and wait for the one before them to be read. */
static uint8_t fifo[HARDWARE_FIFO];
static int unread;

static bool was_reset;
static avr_flashaddr_t hung_at;
static uint16_t hung_word;
static bool hung;
static void (*core_reset)(avr_t *);

static struct wire wires[MAX_WIRES];
static int wire_count, wire_socket = -1;

static int master = -1;
static volatile sig_atomic_t stopped;

static void die(const char *what)
{
	fprintf(stderr, "runner: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(1);
}

static uint64_t host_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void row(uint64_t cycle)
{
	fprintf(trace, "{\"host_ns\": %" PRIu64 ", \"cycle\": %" PRIu64 ", \"board_us\": %" PRIu64, host_ns(), cycle,
	        cycle / CYCLES_PER_US);
}

/* ---- pins */

static int pin_of(char port, int bit)
{
	for (int pin = 0; pin_ports[pin]; ++pin)
		if (pin_ports[pin] == port && pin_bits[pin] == '0' + bit)
			return pin;
	return -1;
}

static void tell_wires(int pin)
{
	uint8_t cycle[8];
	for (int byte = 0; byte < 8; ++byte)
		cycle[byte] = (uint8_t)(avr->cycle >> 8 * byte);
	for (int at = 0; at < wire_count; ++at)
		if (wires[at].pin == pin) /* where nobody listens it is lost, as on a wire */
			sendto(wire_socket, cycle, sizeof cycle, MSG_DONTWAIT, (struct sockaddr *)&wires[at].to, sizeof wires[at].to);
}

static void look_at_port(struct port *port, uint8_t driven)
{
	uint8_t high = avr->data[port->port] & driven;
	uint8_t changed = (uint8_t)((driven ^ port->driven) | (high ^ port->high));
	for (int bit = 0; changed; ++bit, changed >>= 1) {
		int pin = changed & 1 ? pin_of(port->name, bit) : -1;
		if (pin < 0)
			continue;
		if (high >> bit & 1)
			tell_wires(pin);
		row(avr->cycle);
		fprintf(trace, ", \"pin\": %d, \"high\": %s, \"driven\": %s}\n", pin, high >> bit & 1 ? "true" : "false",
		        driven >> bit & 1 ? "true" : "false");
	}
	port->driven = driven;
	port->high = high;
}

static void on_port(struct avr_irq_t *irq, uint32_t value, void *param)
{
	struct port *port = param;
	(void)irq;
	(void)value;
	look_at_port(port, avr->data[port->ddr]);
}

static void on_direction(struct avr_irq_t *irq, uint32_t value, void *param)
{
	(void)irq;
	/* The emulator tells before it writes the register. */
	look_at_port(param, (uint8_t)value);
}

static struct port *find_port(char name)
{
	for (int at = 0; at < port_count; ++at)
		if (ports[at].name == name)
			return &ports[at];
	return NULL;
}

static void find_io(void)
{
	for (avr_io_t *io = avr->io_port; io; io = io->next) {
		if (strcmp(io->kind, "port") == 0 && port_count < MAX_PORTS) {
			avr_ioport_t *found = (avr_ioport_t *)io;
			struct port *port = &ports[port_count++];
			*port = (struct port){.name = found->name, .port = found->r_port, .ddr = found->r_ddr};
			uint32_t irqs = AVR_IOCTL_IOPORT_GETIRQ(found->name);
			avr_irq_register_notify(avr_io_getirq(avr, irqs, IOPORT_IRQ_REG_PORT), on_port, port);
			avr_irq_register_notify(avr_io_getirq(avr, irqs, IOPORT_IRQ_DIRECTION_ALL), on_direction, port);
		}
		if (strcmp(io->kind, "uart") == 0 && ((avr_uart_t *)io)->name == '0')
			uart = (avr_uart_t *)io;
	}
	if (!uart)
		die("the chip has no serial port");
}

static void drive(int pin, int level)
{
	if (pin < 0 || pin >= (int)strlen(pin_ports))
		die("no such pin");
	int bit = pin_bits[pin] - '0';
	struct port *port = find_port(pin_ports[pin]);
	port->outside_mask |= (uint8_t)(1 << bit);
	port->outside = (uint8_t)((port->outside & ~(1 << bit)) | level << bit);
	avr_ioport_external_t outside = {.name = (unsigned char)port->name, .mask = port->outside_mask, .value = port->outside};
	avr_ioctl(avr, AVR_IOCTL_IOPORT_SET_EXTERNAL(port->name), &outside);
	avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ(port->name), bit), (uint32_t)level);
}

/* ---- the serial port */

/*
 * The emulator lets a byte come one byte's time after the one before was read, so that a steady stream falls behind.
 * So it is given each byte when that has arrived, and the chip's own two places are kept here.
 */
static avr_cycle_count_t offer(avr_t *chip, avr_cycle_count_t when, void *param)
{
	(void)chip;
	(void)param;
	if (unread && uart->input.read == uart->input.write) {
		avr_cycle_count_t byte_cycles = uart->cycles_per_byte;
		uart->cycles_per_byte = 1;
		avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT), fifo[0]);
		uart->cycles_per_byte = byte_cycles;
		fifo[0] = fifo[1];
		--unread;
	}
	return unread ? when + OFFER_CYCLES : 0;
}

static avr_cycle_count_t deliver(avr_t *chip, avr_cycle_count_t when, void *param)
{
	if (wire_tail == wire_head)
		return 0;
	uint8_t byte = wire[wire_tail];
	wire_tail = (wire_tail + 1) % sizeof wire;
	bool taken = uart->input.read == uart->input.write;
	bool lost = unread + !taken >= HARDWARE_FIFO;
	row(when);
	fprintf(trace, ", \"rx\": %u%s}\n", byte, lost ? ", \"lost\": true" : "");
	if (!lost) {
		fifo[unread++] = byte;
		avr_cycle_timer_cancel(avr, offer, NULL);
		avr_cycle_count_t again = offer(chip, when, param);
		if (again)
			avr_cycle_timer_register(avr, again - when, offer, NULL);
	}
	wire_free = when;
	return wire_tail == wire_head ? 0 : when + BYTE_CYCLES;
}

static void put_on_wire(uint8_t byte)
{
	bool idle = wire_tail == wire_head;
	size_t next = (wire_head + 1) % sizeof wire;
	if (next == wire_tail)
		die("the wire is full");
	wire[wire_head] = byte;
	wire_head = next;
	if (idle) {
		uint64_t begin = wire_free > avr->cycle ? wire_free - avr->cycle : 0;
		avr_cycle_timer_register(avr, begin + BYTE_CYCLES, deliver, NULL);
	}
}

static void on_tx(struct avr_irq_t *irq, uint32_t value, void *param)
{
	(void)irq;
	(void)param;
	row(avr->cycle);
	fprintf(trace, ", \"tx\": %u}\n", value & 0xFF);
	if (master >= 0) {
		uint8_t byte = (uint8_t)value;
		if (write(master, &byte, 1) < 0 && errno != EAGAIN && errno != EIO)
			die("cannot write to the terminal");
	}
}

/* ---- reset and hanging */

static void on_reset(avr_t *chip)
{
	if (core_reset)
		core_reset(chip);
	was_reset = true;
}

static void hang(bool all)
{
	/* Only the main loop runs with interrupts on. */
	while (!all && !avr->sreg[S_I])
		avr_run(avr);
	if (all) {
		avr->sreg[S_I] = 0;
		avr->data[R_SREG] &= 0x7F;
	}
	hung_at = avr->pc;
	hung_word = (uint16_t)(avr->flash[hung_at] | avr->flash[hung_at + 1] << 8);
	avr->flash[hung_at] = 0xFF; /* rjmp .-2: to itself */
	avr->flash[hung_at + 1] = 0xCF;
	hung = true;
}

static void after_reset(void)
{
	was_reset = false;
	unread = 0;
	if (hung) {
		avr->flash[hung_at] = (uint8_t)hung_word;
		avr->flash[hung_at + 1] = (uint8_t)(hung_word >> 8);
		hung = false;
	}
	for (int at = 0; at < port_count; ++at)
		look_at_port(&ports[at], avr->data[ports[at].ddr]);
	row(avr->cycle);
	fprintf(trace, ", \"reset\": %u}\n", avr->data[avr->reset_flags.wdrf.reg]);
	/* The emulator forgets its timers in a reset. */
	if (wire_tail != wire_head)
		avr_cycle_timer_register(avr, BYTE_CYCLES, deliver, NULL);
}

/* ---- memory */

/* The emulator runs several instructions at a time, so that looking at the stack pointer would miss its lowest. */
static void paint(avr_flashaddr_t from)
{
	memset(avr->data + from, PAINT, avr->ramend + 1 - from);
}

static int untouched(avr_flashaddr_t from)
{
	int count = 0;
	while (from + count <= avr->ramend && avr->data[from + count] == PAINT)
		++count;
	return count;
}

/* ---- running */

static void run_until(uint64_t cycle)
{
	while (avr->cycle < cycle) {
		int state = avr_run(avr);
		if (was_reset)
			after_reset();
		if (state == cpu_Done || state == cpu_Crashed)
			die("the firmware crashed");
	}
}

static int hex(char digit)
{
	return digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10;
}

static void follow(const char *name)
{
	FILE *script = fopen(name, "r");
	if (!script)
		die(name);
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, script) > 0) {
		char *rest, *word;
		uint64_t cycle = strtoull(line, &rest, 10);
		run_until(cycle);
		word = strtok(rest, " \n");
		if (!word)
			die("an order without a word");
		if (strcmp(word, "rx") == 0) {
			char *bytes = strtok(NULL, " \n");
			for (; bytes && bytes[0] && bytes[1]; bytes += 2)
				put_on_wire((uint8_t)(hex(bytes[0]) << 4 | hex(bytes[1])));
		} else if (strcmp(word, "pin") == 0) {
			int pin = atoi(strtok(NULL, " \n"));
			drive(pin, atoi(strtok(NULL, " \n")));
		} else if (strcmp(word, "hang") == 0) {
			hang(strcmp(strtok(NULL, " \n"), "all") == 0);
		} else if (strcmp(word, "end") == 0) {
			break;
		} else {
			die(word);
		}
	}
	free(line);
	fclose(script);
}

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static void open_terminal(void)
{
	int slave;
	char path[256];
	if (openpty(&master, &slave, path, NULL, NULL) < 0)
		die("no pseudo-terminal");
	struct termios raw;
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	/* The slave stays open, so that a host that closes it does not end the terminal. */
	fcntl(master, F_SETFL, O_NONBLOCK);
	printf("%s\n", path);
	fflush(stdout);
}

/* Returns false when the program is to end. */
static bool exchange(void)
{
	struct pollfd ready[2] = {{.fd = master, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	if (poll(ready, 2, 0) <= 0)
		return !stopped;
	if (ready[0].revents & POLLIN) {
		uint8_t bytes[256];
		ssize_t count = read(master, bytes, sizeof bytes);
		for (ssize_t at = 0; at < count; ++at)
			put_on_wire(bytes[at]);
	}
	char ignored[64];
	if (ready[1].revents && read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
		return false;
	return !stopped;
}

static void pace(struct wave *waves, int wave_count)
{
	uint64_t base_ns = host_ns();
	uint64_t next = 0;
	while (exchange()) {
		next += SLICE_US * CYCLES_PER_US;
		for (int at = 0; at < wave_count; ++at) {
			struct wave *wave = &waves[at];
			while (wave->next <= next) {
				run_until(wave->next);
				bool high = wave->next % wave->period == 0;
				drive(wave->pin, high);
				wave->next += high ? wave->high : wave->period - wave->high;
			}
		}
		run_until(next);
		fflush(trace);
		uint64_t due = base_ns + next * 1000 / CYCLES_PER_US, now = host_ns();
		if (now > due + LATE_NS) {
			base_ns += now - due;
		} else if (now < due) {
			struct timespec rest = {0, (long)(due - now)};
			nanosleep(&rest, NULL);
		}
	}
}

static void lay_wire(const char *text)
{
	struct wire *wire = &wires[wire_count++];
	int port;
	if (sscanf(text, "%d:%d", &wire->pin, &port) != 2)
		die("expected PIN:UDP_PORT");
	wire->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	wire->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (wire_socket < 0 && (wire_socket = socket(AF_INET, SOCK_DGRAM, 0)) < 0)
		die("no socket");
}

static void quiet(avr_t *chip, const int level, const char *format, va_list arguments)
{
	(void)chip;
	if (level == LOG_ERROR)
		vfprintf(stderr, format, arguments);
}

int main(int count, char **words)
{
	const char *mcu = "atmega328p", *elf = NULL, *script = NULL, *trace_name = "/dev/null";
	bool pty = false;
	struct wave waves[MAX_WAVES];
	int wave_count = 0;
	for (int at = 1; at < count; ++at) {
		const char *next = at + 1 < count ? words[at + 1] : "";
		if (strcmp(words[at], "--pty") == 0) {
			pty = true;
			continue;
		}
		++at;
		if (strcmp(words[at - 1], "--mcu") == 0)
			mcu = next;
		else if (strcmp(words[at - 1], "--elf") == 0)
			elf = next;
		else if (strcmp(words[at - 1], "--trace") == 0)
			trace_name = next;
		else if (strcmp(words[at - 1], "--script") == 0)
			script = next;
		else if (strcmp(words[at - 1], "--input") == 0 && wave_count < MAX_WAVES) {
			double period_ms, high_ms;
			struct wave *wave = &waves[wave_count++];
			if (sscanf(next, "%d:%lf:%lf", &wave->pin, &period_ms, &high_ms) != 3)
				die("expected PIN:PERIOD_MS:HIGH_MS");
			wave->period = (uint64_t)(period_ms * 1000 * CYCLES_PER_US);
			wave->high = (uint64_t)(high_ms * 1000 * CYCLES_PER_US);
			wave->next = wave->period;
		} else if (strcmp(words[at - 1], "--wire") == 0 && wire_count < MAX_WIRES)
			lay_wire(next);
		else
			die(words[at - 1]);
	}
	if (!elf || pty == (script != NULL))
		die("expected --elf FILE and either --script FILE or --pty");
	signal(SIGINT, SIG_IGN); /* a board does not know of Ctrl-C */
	signal(SIGTERM, stop);
	trace = fopen(trace_name, "w");
	if (!trace)
		die(trace_name);

	avr_global_logger_set(quiet);
	elf_firmware_t firmware;
	memset(&firmware, 0, sizeof firmware);
	if (elf_read_firmware(elf, &firmware) < 0)
		die(elf);
	avr = avr_make_mcu_by_name(mcu);
	if (!avr)
		die("no such chip");
	avr_init(avr);
	firmware.frequency = HZ;
	avr_load_firmware(avr, &firmware);
	avr->frequency = HZ;
	core_reset = avr->reset;
	avr->reset = on_reset;
	/* Behind the variables lie those that survive a reset. */
	avr_flashaddr_t free_memory = avr->ioend + 1 + firmware.datasize + firmware.bsssize + NOINIT_BYTES;
	paint(free_memory);
	bool mega = strcmp(mcu, "atmega2560") == 0;
	pin_ports = mega ? MEGA_PORTS : UNO_PORTS;
	pin_bits = mega ? MEGA_BITS : UNO_BITS;
	find_io();
	uint32_t flags = 0; /* no sleeping while the firmware polls, no console */
	avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_tx, NULL);

	if (pty) {
		/* A chip has nothing else to do; where this is not allowed, a busy computer makes its clock slow. */
		struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
		sched_setscheduler(0, SCHED_FIFO, &lowest);
		open_terminal();
		pace(waves, wave_count);
	} else {
		follow(script);
	}
	row(avr->cycle);
	fprintf(trace, ", \"end\": true, \"stack\": %d}\n", untouched(free_memory));
	fclose(trace);
	return 0;
}
