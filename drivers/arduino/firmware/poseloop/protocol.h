// The numbers of the wire, version 1; Poseloop's tables.py holds the same ones.
#pragma once

#include <stdint.h>

const uint8_t PROTOCOL_VERSION = 1;
const uint8_t VERSION_MAJOR = 1, VERSION_MINOR = 0, VERSION_PATCH = 0;

const uint8_t MAX_BODY = 32;  // bytes of a frame before stuffing
const uint8_t MIN_BODY = 5;
const uint8_t MAX_PAYLOAD = MAX_BODY - MIN_BODY;
const uint8_t ALL = 0xFF;
const uint8_t NO_LINE = 0xFF;
const uint16_t MIN_ON_US = 50;
const uint16_t INPUT_HOLD_US = 1000;
const uint8_t DUTY_SLOTS = 8;
const uint8_t SYNC_BITS = 32;

// Trains, camera triggers and syncs may make 8 edges a millisecond together. Each has a load: these many microseconds,
// in which the budget would be one edge, divided by the time from one of its edges to the next, and rounded up.
const uint8_t LOAD_BUDGET = 128;
const uint16_t LOAD_US = 16000;

enum ToBoard : uint8_t {
  HELLO = 0x01,
  CONFIG = 0x02,
  LINE = 0x03,
  ARM = 0x04,
  DISARM = 0x05,
  RENEW = 0x06,
  PING_CLOCK = 0x07,  // avr/io.h has taken the name PING: the input register of a Mega's port G
  OFF = 0x08,
  PULSE = 0x10,
  TRAIN = 0x11,
  LEVEL = 0x12,
  CAMERA = 0x20,
  SYNC = 0x21,
};

enum ToHost : uint8_t {
  BOOT = 0x81,
  ACK = 0x82,
  REFUSED = 0x83,
  EDGE = 0x84,
  INPUT_CHANGE = 0x85,  // Arduino.h has taken the name INPUT
  STATE = 0x86,
  PONG = 0x87,
  FRAME = 0x88,
};

enum LineFlag : uint8_t { FLAG_OUTPUT = 1, FLAG_ACTIVE_HIGH = 2, FLAG_PULL_UP = 4 };

enum KindFlag : uint8_t { MAY_PULSE = 1, MAY_TRAIN = 2, MAY_LEVEL = 4, MAY_CAMERA = 8, MAY_SYNC = 16 };

enum State : uint8_t { DISARMED = 0, ARMED = 1, LEASE_LAPSED = 2, LIMIT = 3 };

enum Cause : uint8_t { BY_COMMAND = 0, BY_LEASE = 1, BY_MAX_ON = 2, BY_DUTY = 3 };

enum Reason : uint8_t {
  OBEYED = 0,  // not on the wire
  UNKNOWN_KIND = 1,
  BAD_LENGTH = 2,
  NO_HELLO = 3,
  OLD_SEQ = 4,
  NOT_ARMED = 5,
  STILL_ARMED = 6,
  NOT_CONFIGURED = 7,
  SETTINGS_DIFFER = 8,
  BAD_LINE = 9,
  BAD_PIN = 10,
  BAD_VALUE = 11,
  CEILING = 12,
  KIND_NOT_ALLOWED = 13,
  TOO_LONG = 14,
  TOO_SHORT = 15,
  BUSY = 16,
  DUTY_SPENT = 17,
  TOO_FAST = 18,
};

// A line's settings, laid out as in the payload of LINE after its index, so that the checksum of what is stored can be
// taken over what is used.
struct __attribute__((packed)) Settings {
  uint8_t pin;
  uint8_t flags;
  uint8_t kinds;
  uint16_t maxDuty;  // thousandths
  uint32_t maxOnUs;
  uint32_t windowUs;
};
