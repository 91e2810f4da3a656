#pragma GCC optimize("O2")

#include "wire.h"

#include <util/crc16.h>

#include "uart.h"

uint16_t crcOf(uint16_t crc, const void *data, uint8_t length) {
  for (const uint8_t *at = static_cast<const uint8_t *>(data); length; --length) crc = _crc_xmodem_update(crc, *at++);
  return crc;
}

bool Receiver::take(uint8_t byte) {
  if (byte == 0) return finish();
  if (fresh_) {
    fresh_ = false;
    length_ = stuffed_ = 0;
    crc_ = 0xFFFF;
    left_ = byte;  // the first code byte stands for no zero
    ++stuffed_;
    --left_;
    return false;
  }
  if (stuffed_ > MAX_BODY) {  // one more than the longest frame: it can be none any more
    stuffed_ = MAX_BODY + 2;
    return false;
  }
  ++stuffed_;
  uint8_t plain = byte;
  if (left_ == 0) {
    left_ = byte;
    plain = 0;
  }
  --left_;
  // The checksum is taken as bytes come, so that little is left to do when the last one is there.
  if (length_ >= 2) crc_ = _crc_xmodem_update(crc_, body_[length_ - 2]);
  body_[length_++] = plain;
  return false;
}

bool Receiver::finish() {
  if (fresh_) return false;
  fresh_ = true;
  const bool whole = stuffed_ <= MAX_BODY + 1 && left_ == 0 && length_ >= MIN_BODY;
  if (whole && crc_ == (body_[length_ - 2] | static_cast<uint16_t>(body_[length_ - 1]) << 8)) return true;
  if (damaged != 0xFFFF) ++damaged;
  return false;
}

uint8_t Frame::body_[MAX_BODY];
uint8_t Frame::length_;

bool Frame::send(uint8_t spare) {
  const uint8_t room = uartRoom();
  // Two delimiters, a code byte and two bytes of checksum; a body this short needs no second code byte.
  if (room < spare || room < length_ + 5) return false;
  put16(crcOf(0xFFFF, body_, length_));
  uartPut(0);
  for (uint8_t start = 0; start <= length_;) {
    uint8_t end = start;
    while (end < length_ && body_[end]) ++end;
    uartPut(end - start + 1);
    while (start < end) uartPut(body_[start++]);
    ++start;
  }
  uartPut(0);
  uartSend();
  return true;
}
