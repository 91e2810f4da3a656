// Frames: COBS between zero bytes, CRC-16/CCITT-FALSE.
#pragma once

#include <stdint.h>

#include "protocol.h"

uint16_t crcOf(uint16_t crc, const void *data, uint8_t length);

// Collects bytes until a frame is complete. Holds one frame, and finds back into step at the next zero byte.
class Receiver {
 public:
  // Take one byte; true = it completed an undamaged frame, whose parts stand below until the next call.
  bool take(uint8_t byte);

  // True after the first byte of what may still become a frame.
  bool within() const { return !fresh_ && stuffed_ <= MAX_BODY + 1; }

  uint8_t kind() const { return body_[0]; }
  uint16_t seq() const { return body_[1] | static_cast<uint16_t>(body_[2]) << 8; }
  const uint8_t *payload() const { return body_ + 3; }
  uint8_t length() const { return length_ - MIN_BODY; }

  uint16_t damaged = 0;  // stretches that were no frame; stays at 65535

 private:
  bool finish();

  uint8_t body_[MAX_BODY];
  uint8_t length_ = 0;   // of the body so far
  uint8_t stuffed_ = 0;  // bytes since the last zero
  uint8_t left_ = 0;     // until the next code byte
  uint16_t crc_ = 0xFFFF;  // of all but the last two bytes, which may be the frame's own checksum
  bool fresh_ = true;    // the next byte begins a stretch
};

// One frame to the host: put values, then send. It needs room in the buffer for all of it, else it is dropped. All frames
// share one body, since memory is scarce: there is one at a time, and only the main loop speaks.
class Frame {
 public:
  Frame(uint8_t kind, uint16_t seq) {
    length_ = 0;
    put8(kind);
    put16(seq);
  }
  Frame &put8(uint8_t value) {
    body_[length_++] = value;
    return *this;
  }
  Frame &put16(uint16_t value) { return put8(value).put8(value >> 8); }
  Frame &put32(uint32_t value) { return put16(value).put16(value >> 16); }

  // Returns false where fewer than `spare` bytes are free in the buffer.
  bool send(uint8_t spare = 0);

 private:
  static uint8_t body_[MAX_BODY];
  static uint8_t length_;
};
