// Time counts here more than size: what this file costs, edges are late by.
#pragma GCC optimize("O2")

#include "outputs.h"

#include "uart.h"

volatile uint32_t epoch;

namespace {

// The compare interrupt comes this much before an edge and waits for it, so that neither the port's interrupts nor its
// own way in make the edge late.
const uint16_t LEAD = 28 * TICKS_PER_US;

// An edge that is nearer than this is watched by the compare interrupt, which sees 16 bits of the timer. The other lines
// are looked at one by one, each every 8 · 512 microseconds: long before an edge of theirs comes into that distance.
const uint16_t NEAR = 0x6000;
const uint16_t LOOK = 512 * TICKS_PER_US;
static_assert(NEAR / LINES > LOOK, "an edge could be due before it is looked at");

// How long the books of an edge take, until the next one can be made.
const uint16_t BOOKS = 25 * TICKS_PER_US;

const uint8_t REPORTS = 16;  // a power of two

// A report in as little memory as it can be.
struct Entry {
  uint8_t what;    // line, level and cause
  uint8_t number;  // of a trigger, its last 8 bits
  uint16_t seq;
  uint32_t ticks;
};
const uint8_t LEVEL_BIT = 0x08;
const uint8_t CAUSE_SHIFT = 4;
const uint8_t TRIGGER = 0x40;  // a camera's, in the place of a cause
static_assert(LINES <= LEVEL_BIT && BY_DUTY << CAUSE_SHIFT < TRIGGER, "they would not fit");

struct Output {
  volatile uint8_t *port;
  volatile uint8_t *pin;
  uint8_t mask;
  uint8_t safe;  // `mask` where the safe level is high, else 0
  uint8_t line;
  volatile uint8_t kind;
  uint8_t cause;  // shifted to its place in a report
  bool limited;  // on-time is counted
  bool on;
  bool next;  // level of the next edge
  bool highNear, lowNear;  // the edge after `high`, after `low`, is near
  uint16_t seq;
  Moment due;  // of the next edge
  Span high, low;
  uint32_t left;   // pulses; for SYNC bits
  uint32_t code;   // SYNC: bits to come; CAMERA: number of the next trigger
  uint32_t since;  // ticks when it went on, or was last counted
  uint32_t spent;  // ticks on, not yet counted
  uint16_t made;   // timer when the newest edge was made
};

Output outputs[LINES];

// Lines whose next edge the compare interrupt watches.
uint8_t near;

Entry reports[REPORTS];
volatile uint8_t reportHead, reportTail;
uint16_t lost;

// Ticks of the edges that are being made. Neither this nor the small functions below are kept in registers across each
// other on purpose: with everything in one function the compiler runs out of registers, and an edge takes twice as long.
uint32_t stamp;

__attribute__((noinline)) void report(const Output *output, uint8_t cause, uint16_t seq) {
  const uint8_t head = reportHead;
  const uint8_t next = (head + 1) & (REPORTS - 1);
  if (next == reportTail) {
    if (lost != 0xFFFF) ++lost;
    return;
  }
  Entry *const entry = &reports[head];
  uint8_t what = output->line | cause;
  if ((*output->pin ^ output->safe) & output->mask) what |= LEVEL_BIT;
  entry->what = what;
  entry->number = output->code;
  entry->seq = seq;
  entry->ticks = stamp;
  reportHead = next;
}

inline void write(const Output *output, bool active) {
  const bool high = active != (output->safe != 0);
  if (high) {
    *output->port |= output->mask;
  } else {
    *output->port &= ~output->mask;
  }
}

// Set when the next edge is due.
inline void after(Output *output, const Span *span) {
  const uint16_t low = output->due.low + span->low;
  if (low < span->low) ++output->due.high;
  output->due.low = low;
  if (span->high) output->due.high += span->high;
}

__attribute__((noinline)) bool followSync(Output *output) {
  if (output->left == 0) {
    output->kind = 0;
    report(output, 0, output->seq);
    return false;
  }
  if (output->left == SYNC_BITS + 1) report(output, 0, output->seq);
  --output->left;
  output->next = output->left && (output->code & 1);
  output->code >>= 1;
  after(output, &output->high);
  return output->highNear;
}

// Keep the books of an edge that was just made, and find out when the next one is; returns whether that is near.
__attribute__((noinline)) bool follow(Output *output) {
  uartHear();  // a byte comes every 10 microseconds, and the port holds two
  const bool on = output->next;
  if (output->limited) {
    if (output->on) {
      output->spent += stamp - output->since;
    } else {
      output->since = stamp;
    }
  }
  output->on = on;
  if (output->kind == SYNC) return followSync(output);
  output->next = !on;
  if (on) {
    after(output, &output->high);
    if (output->kind == CAMERA) {
      report(output, TRIGGER, output->seq);
      ++output->code;
    } else {
      report(output, 0, output->seq);
    }
    return output->highNear;
  }
  // An endless one starts with 0 left and runs 2^32 pulses: 497 days at 100 Hz.
  const bool last = --output->left == 0;
  after(output, &output->low);
  if (output->kind == LEVEL) {
    report(output, output->cause, 0);
  } else if (output->kind != CAMERA) {
    report(output, 0, output->seq);
  }
  if (!last) return output->lowNear;
  output->kind = 0;
  return false;
}

// Ticks until an edge; negative = it is overdue.
inline int16_t until(uint16_t low) { return static_cast<int16_t>(low - TCNT1); }

// The soonest edge of a set of watched lines.
__attribute__((noinline)) uint16_t soonest(uint8_t lines) {
  const uint16_t now = TCNT1;
  int16_t shortest = 0x7FFF;
  for (const Output *output = outputs; lines; ++output, lines >>= 1) {
    if (!(lines & 1)) continue;
    const int16_t distance = static_cast<int16_t>(output->due.low - now);
    if (distance < shortest) shortest = distance;
  }
  return now + shortest;
}

// Those of a set of watched lines whose edges are due at a time, or were before.
__attribute__((noinline)) uint8_t dueAt(uint8_t lines, uint16_t low) {
  uint8_t due = 0, bit = 1;
  for (const Output *output = outputs; lines; ++output, lines >>= 1, bit <<= 1) {
    if ((lines & 1) && static_cast<int16_t>(output->due.low - low) <= 0) due |= bit;
  }
  return due;
}

// Make the edges of a set of watched lines that come before the books of the first ones could be closed, each at its
// time; returns whose edges they were. All of them are polled in one small loop, because edges that are a microsecond
// apart leave no time to look for the next one.
__attribute__((noinline)) uint8_t make(uint8_t lines) {
  uint8_t made = 0;
  uint16_t books = LEAD + BOOKS;
  while (uint8_t waiting = dueAt(lines, TCNT1 + books)) {
    lines &= ~waiting;
    while (waiting) {
      uartHear();
      uint8_t bit = 1, rest = waiting;
      for (Output *output = outputs; rest; ++output, rest >>= 1, bit <<= 1) {
        const uint16_t low = TCNT1;
        if (!(rest & 1) || static_cast<int16_t>(output->due.low - low) > 0) continue;
        write(output, output->next);
        output->made = low;
        made |= bit;
        waiting &= ~bit;
        books += BOOKS;
      }
    }
  }
  return made;
}

// Keep the books of the edges that were made.
__attribute__((noinline)) void close(uint8_t lines) {
  uint8_t bit = 1;
  for (Output *output = outputs; lines; ++output, lines >>= 1, bit <<= 1) {
    if (!(lines & 1)) continue;
    uint16_t high = static_cast<uint16_t>(epoch);
    if ((TIFR1 & _BV(TOV1)) && output->made < 0x8000) ++high;
    stamp = static_cast<uint32_t>(high) << 16 | output->made;
    if (!follow(output)) near &= ~bit;
    uartHear();
  }
}

// Make every edge that is due, and set the timer for the next one. Runs with interrupts off.
void serve() {
  while (near) {
    // Many edges can keep the other compare interrupt waiting for longer than an epoch; lost time would be lost lease.
    countEpochs();
    const uint16_t wake = soonest(near) - LEAD;
    OCR1A = wake;
    // Only after the register was written is it sure that the match will not be missed.
    if (until(wake) > 2) return;
    uartHear();
    close(make(near));
  }
}

bool isShort(const Span &span) { return span.high == 0 && span.low < NEAR; }

// Tell whether an edge is near, or overdue.
bool isNear(const Moment &due, const Moment &now) {
  const uint16_t low = due.low - now.low;
  const int32_t high = due.high - now.high - (due.low < now.low);
  return high < 0 || (high == 0 && low < NEAR);
}

}  // namespace

ISR(TIMER1_COMPA_vect) { serve(); }

// Count epochs, and look at one line that is not watched. It takes less than LEAD, so that it makes no edge late.
ISR(TIMER1_COMPB_vect) {
  static uint8_t line;
  uartHear();  // it may follow the other one at once
  OCR1B += LOOK;
  countEpochs();
  line = (line + 1) % LINES;
  const uint8_t bit = _BV(line);
  const bool fresh = outputs[line].kind && !(near & bit) && isNear(outputs[line].due, momentNow());
  if (fresh) near |= bit;
  // A match that was missed, which should not happen, would leave a laser on for a round of the timer.
  const bool missed = near && until(OCR1A) < 0;
  if (fresh || missed) serve();
}

void outputsStart() {
  OCR1B = TCNT1 + LOOK;
  TIMSK1 = _BV(OCIE1A) | _BV(OCIE1B);
}

void outputsGoOn() {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    if (until(OCR1B) < 0 && !(TIFR1 & _BV(OCF1B))) OCR1B = TCNT1 + LOOK;
  }
}

void outputClaim(uint8_t line, uint8_t pin, bool activeHigh, bool limited) {
  Output &output = outputs[line];
  const uint8_t port = digitalPinToPort(pin);
  output.port = portOutputRegister(port);
  output.pin = portInputRegister(port);
  output.mask = digitalPinToBitMask(pin);
  output.safe = activeHigh ? 0 : output.mask;
  output.line = line;
  output.limited = limited;
  output.spent = 0;
  volatile uint8_t *const direction = portModeRegister(port);
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    write(&output, false);
    *direction |= output.mask;
  }
}

uint8_t outputKind(uint8_t line) { return outputs[line].kind; }

void outputBegin(uint8_t line, const Order &order, const Moment &arrived) {
  Output &output = outputs[line];
  // The line is free: the interrupt does not look at it before it has a kind.
  output.cause = order.cause << CAUSE_SHIFT;
  output.seq = order.seq;
  output.next = true;
  output.high = spanOfUs(order.onUs);
  output.highNear = isShort(output.high);
  if (order.periodUs) {
    output.low = spanOfUs(order.periodUs - order.onUs);
    output.lowNear = isShort(output.low);
  }
  output.left = order.kind == SYNC ? SYNC_BITS + 1UL : order.count;
  output.code = order.code;
  if (order.delayUs) {
    output.due = arrived;
    advance(output.due, spanOfUs(order.delayUs));
  }
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    output.kind = order.kind;
    uartHear();
    if (order.delayUs == 0) {
      const uint8_t made = make(near);
      const uint16_t low = TCNT1;
      write(&output, true);
      output.made = low;
      output.due = momentOf(low);
      near |= _BV(line);
      close(made | _BV(line));
      serve();
    } else {
      const Moment now = momentNow();
      if (isNear(output.due, now)) {
        // A start that is late must not make the pulse short.
        if (static_cast<int16_t>(output.due.low - now.low) < 0) output.due = now;
        near |= _BV(line);
        uartHear();
        serve();
      }
    }
  }
}

void outputsEnd(uint8_t lines, uint16_t seq) {
  uint8_t bit = 1;
  for (Output *output = outputs; output != outputs + LINES; ++output, bit <<= 1) {
    if (!(lines & bit)) continue;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
      if (output->kind) {
        write(output, false);
        near &= ~bit;
        stamp = ticksOf(momentNow());
        uartHear();
        if (output->on) output->spent += stamp - output->since;
        // SYNC reports where it begins and ends, whatever its bits are; a camera's triggers are reported as they rise.
        const bool begun = output->left <= SYNC_BITS;
        const bool told = output->kind == SYNC ? begun : output->on && output->kind != CAMERA;
        if (told) report(output, 0, seq);
        output->on = false;
        output->kind = 0;
      }
    }
  }
}

uint32_t outputSpentUs(uint8_t line) {
  Output &output = outputs[line];
  uint32_t spent;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    if (output.on && output.limited) {
      const uint32_t ticks = ticksOf(momentNow());
      output.spent += ticks - output.since;
      output.since = ticks;
    }
    spent = output.spent;
    output.spent = spent & (TICKS_PER_US - 1);
  }
  return spent / TICKS_PER_US;
}

bool outputsTake(Report &report) {
  const uint8_t tail = reportTail;
  if (tail == reportHead) return false;
  const Entry &entry = reports[tail];
  report.line = entry.what & (LEVEL_BIT - 1);
  report.level = entry.what & LEVEL_BIT;
  report.cause = entry.what >> CAUSE_SHIFT;
  report.seq = entry.seq;
  report.ticks = entry.ticks;
  if (entry.what & TRIGGER) {
    uint32_t next;  // the line's next trigger, a few later than this one
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { next = outputs[report.line].code; }
    report.cause = FRAME;
    report.number = next - static_cast<uint8_t>(next - entry.number);
  }
  reportTail = (tail + 1) & (REPORTS - 1);
  return true;
}

uint16_t outputsLost() {
  uint16_t count;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { count = lost; }
  return count;
}
