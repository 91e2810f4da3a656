#pragma GCC optimize("O2")

#include "board.h"

#include <Arduino.h>
#include <avr/wdt.h>

#include "clock.h"
#include "duty.h"
#include "inputs.h"
#include "limits.h"
#include "outputs.h"
#include "protocol.h"
#include "uart.h"
#include "wire.h"

namespace {

#if defined(__AVR_ATmega2560__)
const uint8_t BOARD = 2;
#elif defined(__AVR_ATmega328P__)
const uint8_t BOARD = 1;
#elif defined(__AVR_ATmega32U4__)
const uint8_t BOARD = 3;
#else
#error "expected an Arduino Uno, Nano (ATmega328P), Mega (ATmega2560), Leonardo or Micro (ATmega32U4)"
#endif

// EDGE, INPUT and FRAME leave this much of the send buffer to the other kinds.
const uint8_t SPARE = 64;

const uint8_t TIMED = MAY_PULSE | MAY_TRAIN | MAY_LEVEL;
const uint8_t FREE_RUNNING = MAY_CAMERA | MAY_SYNC;

// Bytes that one round of the main loop takes at most, so that it never lasts long.
const uint8_t BYTES_PER_ROUND = 16;

// Rounds of the main loop in which the next byte of a frame has surely come, if it comes at all.
const uint8_t ROUNDS_PER_BYTE = 8;

struct Line {
  bool given;
  Settings settings;
};

Line lines[LINES];
uint8_t loads[LINES];  // of the newest command
Duty duties[LINES];
Receiver receiver;

bool greeted, armed;
uint8_t lineCount;  // 0 = not configured
uint16_t leaseMs;
uint32_t renewedUs;
uint16_t newest;  // sequence number
uint16_t unsent;
uint8_t resetCause;

// Payloads as they lie in the receiver.
struct __attribute__((packed, may_alias)) LinePayload {
  uint8_t line;
  Settings settings;
};
struct __attribute__((packed, may_alias)) OnPayload {  // PULSE and LEVEL are its beginning
  uint8_t line;
  uint32_t delayUs, onUs, periodUs, count;
};
struct __attribute__((packed, may_alias)) CameraPayload {
  uint8_t line;
  uint32_t periodUs, widthUs, count;
};
struct __attribute__((packed, may_alias)) SyncPayload {
  uint8_t line;
  uint32_t code, bitUs;
};

uint16_t u16At(const uint8_t *payload) { return payload[0] | static_cast<uint16_t>(payload[1]) << 8; }

// MCUSR and r2 as the program found them. Optiboot clears the one and hands its value over in the other.
uint8_t foundFlags __attribute__((section(".noinit")));
uint8_t handedFlags __attribute__((section(".noinit")));

uint8_t causeOfReset() {
  const uint8_t flags = foundFlags ? foundFlags : handedFlags;
  if (flags & 0xF0) return 0;
  if (flags & _BV(WDRF)) return 4;
  if (flags & _BV(BORF)) return flags & _BV(PORF) ? 1 : 3;
  if (flags & _BV(EXTRF)) return flags & _BV(PORF) ? 1 : 2;
  return flags & _BV(PORF) ? 1 : 0;
}

bool isOutput(uint8_t line) { return line < lineCount && lines[line].given && lines[line].settings.flags & FLAG_OUTPUT; }

// Sets of lines, as bits: outputs that the lease and OFF for all lines reach, and the others.
uint8_t outputsOfKinds(uint8_t kinds) {
  uint8_t found = 0;
  for (uint8_t line = 0; line < lineCount; ++line) {
    // An output that obeys nothing at all is never on.
    if (isOutput(line) && lines[line].settings.kinds & kinds) found |= _BV(line);
  }
  return found;
}

// Sending

void say(uint8_t kind, uint16_t seq) { Frame(kind, seq).put32(nowUs()).send(); }

void sayState(State state, Cause cause, uint8_t line, uint16_t seq) {
  Frame(STATE, seq).put8(state).put8(cause).put8(line).put32(nowUs()).send();
}

void sayBoot(uint16_t seq) {
  Frame frame(BOOT, seq);
  frame.put8(PROTOCOL_VERSION).put8(VERSION_MAJOR).put8(VERSION_MINOR).put8(VERSION_PATCH);
  frame.put8(BOARD).put8(LINES).put8(resetCause).put16(MIN_ON_US).put32(POSELOOP_MAX_ON_US);
  frame.put16(POSELOOP_MIN_LEASE_MS).put16(POSELOOP_MAX_LEASE_MS).put32(nowUs()).send();
}

void missed(bool sent) {
  if (!sent && unsent != 0xFFFF) ++unsent;
}

// Send the oldest report of an output; false = there is none.
bool sayReport() {
  Report report;
  if (!outputsTake(report)) return false;
  const uint32_t us = usOfTicks(report.ticks);
  if (report.cause == FRAME) {
    missed(Frame(FRAME, report.seq).put8(report.line).put32(report.number).put32(us).send(SPARE));
    return true;
  }
  missed(Frame(EDGE, report.seq).put8(report.line).put8(report.level).put32(us).send(SPARE));
  if (report.cause) sayState(LIMIT, static_cast<Cause>(report.cause), report.line, 0);
  return true;
}

// What explains edges comes after them.
void sayReports() {
  while (sayReport()) {
  }
}

void sayInput(const InputEvent &event) {
  missed(Frame(INPUT_CHANGE, 0).put8(event.line).put8(event.level).put32(event.us).send(SPARE));
}

// State

void disarm(State state, Cause cause, uint16_t seq) {
  sayReports();
  if (!armed) return;
  armed = false;
  sayState(state, cause, NO_LINE, seq);
}

void forgetSettings() {
  outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), 0);
  armed = false;
  for (uint8_t line = 0; line < LINES; ++line) {
    lines[line].given = false;
    inputRelease(line);
  }
  lineCount = 0;
}

void lookAtLease() {
  if (!armed || nowUs() - renewedUs < leaseMs * 1000UL) return;
  outputsEnd(outputsOfKinds(TIMED), 0);
  disarm(LEASE_LAPSED, BY_LEASE, 0);
}

// `us` is now.
void countDuty(uint8_t line, uint32_t us) {
  const uint32_t spent = outputSpentUs(line);
  duties[line].add(spent, us);
}

uint16_t checksum() {
  uint16_t crc = crcOf(0xFFFF, &leaseMs, sizeof leaseMs);
  crc = crcOf(crc, &lineCount, sizeof lineCount);
  for (uint8_t line = 0; line < lineCount; ++line) {
    crc = crcOf(crc, &line, sizeof line);
    crc = crcOf(crc, &lines[line].settings, sizeof(Settings));
  }
  return crc;
}

// Settings

Reason objectionToPin(uint8_t line, uint8_t pin) {
  if (pin <= 1 || pin == 13 || pin >= NUM_DIGITAL_PINS || digitalPinToPort(pin) == NOT_A_PIN) return BAD_PIN;
  for (uint8_t other = 0; other < lineCount; ++other) {
    if (other != line && lines[other].given && lines[other].settings.pin == pin) return BAD_PIN;
  }
  return OBEYED;
}

Reason objectionToSettings(const Settings &settings) {
  const bool output = settings.flags & FLAG_OUTPUT;
  if (!output) {
    const bool unknown = settings.flags & ~(FLAG_ACTIVE_HIGH | FLAG_PULL_UP);
    const bool limits = settings.kinds || settings.maxDuty || settings.maxOnUs || settings.windowUs;
    return unknown || limits ? BAD_VALUE : OBEYED;
  }
  if (settings.flags & ~(FLAG_OUTPUT | FLAG_ACTIVE_HIGH) || settings.kinds & ~(TIMED | FREE_RUNNING)) return BAD_VALUE;
  if (settings.maxDuty < 1 || settings.maxDuty > 1000 || settings.windowUs < 1000 || settings.maxOnUs == 0) {
    return BAD_VALUE;
  }
  // What runs without a lease must not sit on a line that has something to fear, and its duty is not counted.
  if (settings.kinds & FREE_RUNNING && (settings.kinds & TIMED || settings.maxDuty != 1000)) return BAD_VALUE;
  return settings.maxOnUs > POSELOOP_MAX_ON_US ? CEILING : OBEYED;
}

Reason config(uint16_t seq, const uint8_t *payload) {
  const uint16_t lease = u16At(payload);
  const uint8_t count = payload[2];
  if (armed) return STILL_ARMED;
  if (lease < POSELOOP_MIN_LEASE_MS || lease > POSELOOP_MAX_LEASE_MS) return CEILING;
  if (count < 1 || count > LINES) return BAD_LINE;
  forgetSettings();
  leaseMs = lease;
  lineCount = count;
  say(ACK, seq);
  return OBEYED;
}

Reason configureLine(uint16_t seq, const uint8_t *payload) {
  const LinePayload &order = *reinterpret_cast<const LinePayload *>(payload);
  const Settings &settings = order.settings;
  if (armed) return STILL_ARMED;
  if (lineCount == 0) return NOT_CONFIGURED;
  if (order.line >= lineCount) return BAD_LINE;
  Reason reason = objectionToPin(order.line, settings.pin);
  if (reason == OBEYED) reason = objectionToSettings(settings);
  if (reason != OBEYED) return reason;
  if (isOutput(order.line)) outputsEnd(_BV(order.line), 0);
  inputRelease(order.line);
  lines[order.line].settings = settings;
  lines[order.line].given = true;
  const bool activeHigh = settings.flags & FLAG_ACTIVE_HIGH;
  if (settings.flags & FLAG_OUTPUT) {
    duties[order.line].begin(settings, nowUs());
    outputClaim(order.line, settings.pin, activeHigh, duties[order.line].limited());
    say(ACK, seq);
  } else {
    inputClaim(order.line, settings.pin, activeHigh, settings.flags & FLAG_PULL_UP);
    say(ACK, seq);
    sayInput(inputFirst(order.line));
  }
  return OBEYED;
}

Reason arm(uint16_t seq, const uint8_t *payload) {
  if (lineCount == 0) return NOT_CONFIGURED;
  for (uint8_t line = 0; line < lineCount; ++line) {
    if (!lines[line].given) return NOT_CONFIGURED;
  }
  if (u16At(payload) != checksum()) return SETTINGS_DIFFER;
  lookAtLease();
  renewedUs = nowUs();
  say(ACK, seq);
  if (!armed) {
    armed = true;
    sayState(ARMED, BY_COMMAND, NO_LINE, seq);
  }
  return OBEYED;
}

Reason renew() {
  lookAtLease();  // while a frame comes in nobody does
  if (!armed) return NOT_ARMED;
  renewedUs = nowUs();
  return OBEYED;
}

// On-commands

// Note what a command costs the processor; false = too much, with what the other lines do.
bool takeLoad(uint8_t line, const Order &order) {
  loads[line] = 0;
  if (order.kind == PULSE || order.kind == LEVEL) return true;
  uint16_t load = 1;
  if (order.periodUs <= 0xFFFF) {
    // By 16 bits, since a division of 32 takes as long as an edge.
    const uint16_t cost = order.kind == SYNC ? LOAD_US : 2 * LOAD_US;
    load = (cost - 1) / static_cast<uint16_t>(order.periodUs) + 1;
  }
  uint16_t sum = load;
  for (uint8_t other = 0; other < LINES; ++other) {
    if (outputKind(other)) sum += loads[other];
  }
  if (sum > LOAD_BUDGET) return false;
  loads[line] = load;
  return true;
}

// What a line has against a command, but for its duty.
Reason objection(uint8_t line, const Order &order, uint8_t flag) {
  if (!isOutput(line)) return BAD_LINE;
  const Settings &settings = lines[line].settings;
  if (!(settings.kinds & flag)) return KIND_NOT_ALLOWED;
  const bool repeats = order.kind == TRAIN || order.kind == CAMERA;
  if (order.kind != LEVEL) {
    if (order.onUs == 0 || (repeats && order.periodUs <= order.onUs)) return BAD_VALUE;
    if (order.kind == TRAIN && order.count == 0) return BAD_VALUE;
    if (order.onUs < MIN_ON_US || (repeats && order.periodUs - order.onUs < MIN_ON_US)) return TOO_SHORT;
    const uint32_t longest = order.kind == SYNC ? settings.maxOnUs / (SYNC_BITS + 1) : settings.maxOnUs;
    if (order.onUs > longest) return TOO_LONG;
  }
  if (outputKind(line)) return BUSY;
  return takeLoad(line, order) ? OBEYED : TOO_FAST;
}

Reason start(uint8_t kind, uint16_t seq, const uint8_t *payload, const Moment &arrived) {
  if (!armed) return NOT_ARMED;
  // What lies beyond the end of a shorter payload is not looked at.
  const OnPayload &wanted = *reinterpret_cast<const OnPayload *>(payload);
  const uint8_t line = wanted.line;
  Order order = {kind, 0, seq, wanted.delayUs, 0, 0, 1, 0};
  if (kind != LEVEL) order.onUs = wanted.onUs;
  if (kind == TRAIN) {
    order.periodUs = wanted.periodUs;
    order.count = wanted.count;
  }
  const uint8_t flag = kind == PULSE ? MAY_PULSE : kind == TRAIN ? MAY_TRAIN : MAY_LEVEL;
  const Reason reason = objection(line, order, flag);
  if (reason != OBEYED) return reason;
  const Duty &duty = duties[line];
  const uint32_t us = usOf(arrived);
  if (duty.limited()) {
    countDuty(line, us);
    const uint32_t onUs = kind == TRAIN ? duty.worst(order.onUs, order.periodUs, order.count)
                                        : kind == LEVEL ? 1 : order.onUs;
    if (!duty.allows(onUs)) return DUTY_SPENT;
  }
  if (kind == LEVEL) {
    order.onUs = lines[line].settings.maxOnUs;
    order.cause = BY_MAX_ON;
    if (duty.limited()) {
      // Until a delayed level begins more of the window is forgotten, so this is never too long.
      const uint32_t left = duty.left(us);
      if (left < order.onUs) {
        order.onUs = left;
        order.cause = BY_DUTY;
      }
    }
  }
  outputBegin(line, order, arrived);
  say(ACK, seq);
  return OBEYED;
}

Reason camera(uint16_t seq, const uint8_t *payload, const Moment &arrived) {
  const CameraPayload &wanted = *reinterpret_cast<const CameraPayload *>(payload);
  const uint8_t line = wanted.line;
  if (wanted.periodUs == 0) {
    if (!isOutput(line)) return BAD_LINE;
    if (!(lines[line].settings.kinds & MAY_CAMERA)) return KIND_NOT_ALLOWED;
    if (outputKind(line) == CAMERA) outputsEnd(_BV(line), seq);
    say(ACK, seq);
    return OBEYED;
  }
  const Order order = {CAMERA, 0, seq, 0, wanted.widthUs, wanted.periodUs, wanted.count, 0};
  const Reason reason = objection(line, order, MAY_CAMERA);
  if (reason != OBEYED) return reason;
  sayReports();  // triggers that came before count on in the line's old number
  outputBegin(line, order, arrived);
  say(ACK, seq);
  return OBEYED;
}

Reason sync(uint16_t seq, const uint8_t *payload, const Moment &arrived) {
  const SyncPayload &wanted = *reinterpret_cast<const SyncPayload *>(payload);
  const Order order = {SYNC, 0, seq, 0, wanted.bitUs, wanted.bitUs, 1, wanted.code};
  const Reason reason = objection(wanted.line, order, MAY_SYNC);
  if (reason != OBEYED) return reason;
  outputBegin(wanted.line, order, arrived);
  say(ACK, seq);
  return OBEYED;
}

// Frames

void hello(uint16_t seq) {
  outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), seq);
  sayReports();
  forgetSettings();
  greeted = true;
  newest = seq;
  sayBoot(seq);
}

void off(uint16_t seq, const uint8_t *payload, uint8_t length) {
  // Whatever does not name exactly one output means all of them.
  const bool named = length == 1 && isOutput(payload[0]);
  outputsEnd(named ? _BV(payload[0]) : outputsOfKinds(TIMED), seq);
  say(ACK, seq);
}

// Length of the payload of every kind that is known; 0xFF = it is not.
uint8_t lengthOf(uint8_t kind) {
  switch (kind) {
    case DISARM:
    case RENEW:
    case PING_CLOCK: return 0;
    case HELLO:
    case OFF: return 1;
    case ARM: return 2;
    case CONFIG: return 3;
    case LEVEL: return 5;
    case PULSE:
    case SYNC: return 9;
    case CAMERA: return sizeof(CameraPayload);
    case LINE: return sizeof(LinePayload);
    case TRAIN: return sizeof(OnPayload);
    default: return 0xFF;
  }
}

// Carry a command out, or say why not. The order of these checks is part of the protocol.
Reason obeyed(uint8_t kind, uint16_t seq, const uint8_t *payload, uint8_t length, bool newer, const Moment &arrived) {
  const uint8_t wanted = lengthOf(kind);
  if (wanted == 0xFF) return UNKNOWN_KIND;
  if (length != wanted) return BAD_LENGTH;
  if (kind == PING_CLOCK) {
    const uint32_t lost = static_cast<uint32_t>(unsent) + outputsLost();
    Frame(PONG, seq).put32(nowUs()).put16(receiver.damaged).put16(lost > 0xFFFF ? 0xFFFF : lost).send();
    return OBEYED;
  }
  if (!greeted) return NO_HELLO;
  if (!newer) return OLD_SEQ;
  switch (kind) {
    case CONFIG: return config(seq, payload);
    case LINE: return configureLine(seq, payload);
    case ARM: return arm(seq, payload);
    case RENEW: return renew();
    case CAMERA: return camera(seq, payload, arrived);
    case SYNC: return sync(seq, payload, arrived);
    default: return start(kind, seq, payload, arrived);
  }
}

void obey(const Moment &arrived) {
  const uint8_t kind = receiver.kind();
  const uint16_t seq = receiver.seq();
  const uint8_t *const payload = receiver.payload();
  const uint8_t length = receiver.length();
  if (kind == HELLO && length >= 1) {
    hello(seq);
    return;
  }
  const uint16_t ahead = seq - newest;
  const bool newer = greeted && seq != 0 && ahead >= 1 && ahead <= 0x7FFF;
  if (newer) newest = seq;
  if (kind == OFF) {
    off(seq, payload, length);
    return;
  }
  if (kind == DISARM) {
    outputsEnd(outputsOfKinds(TIMED), seq);
    say(ACK, seq);
    disarm(DISARMED, BY_COMMAND, seq);
    return;
  }
  const Reason reason = obeyed(kind, seq, payload, length, newer, arrived);
  if (reason != OBEYED) Frame(REFUSED, seq).put8(reason).put8(kind).put32(nowUs()).send();
}

// Take bytes; true = there were some, and they end within a frame.
bool listen() {
  uint8_t byte;
  if (!uartTake(byte)) return false;
  for (uint8_t taken = 1; !receiver.take(byte); ++taken) {
    if (taken == BYTES_PER_ROUND || !uartTake(byte)) return receiver.within();
  }
  obey(now());
  return false;
}

// One of the main loop's duties, but for the lease, which is looked at each time.
void attend() {
  static uint8_t step, line;
  lookAtLease();
  uartGoOn();
  switch (step++) {
    case 0:
      if (isOutput(line) && duties[line].limited()) countDuty(line, nowUs());
      line = line == LINES - 1 ? 0 : line + 1;
      break;
    case 1: sayReport(); break;
    case 2: outputsGoOn(); break;
    default: inputsLook(sayInput); step = 0;
  }
  // Only here: lease and limits were looked at.
  wdt_reset();
}

}  // namespace

// Before anything else: a watchdog that has bitten stays on, at 16 ms, and would bite again during the start.
void rememberReset() __attribute__((naked, used, section(".init3")));
void rememberReset() {
  uint8_t handed;
  __asm__ __volatile__("mov %0, r2" : "=r"(handed));
  handedFlags = handed;
  foundFlags = MCUSR;
  MCUSR = 0;
  wdt_disable();
}

void boardStart() {
  resetCause = causeOfReset();
  clockStart();
  inputsStart();
  uartStart();
  outputsStart();
  wdt_enable(WDTO_250MS);
  sayBoot(0);
}

void boardLook() {
  static uint8_t waited;
  // While a frame comes in nothing else is begun, so that it is obeyed at once; a frame has 34 bytes at most.
  if (listen()) {
    waited = 0;
    return;
  }
  if (receiver.within() && waited < ROUNDS_PER_BYTE) {
    ++waited;
    return;
  }
  attend();
}
