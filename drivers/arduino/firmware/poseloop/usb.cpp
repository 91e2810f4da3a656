// The port of a chip that speaks USB itself (Leonardo, Micro). Compiled, but not tested on a board: nothing here can
// emulate it. USB's own interrupts can make an edge late by more than the others do.
#include "uart.h"

#ifdef USBCON

#include "limits.h"

uint8_t waiting[WAITING_SIZE];
uint8_t waitingPut;

namespace {
uint8_t head, tail;
}  // namespace

void uartStart() { Serial.begin(POSELOOP_BAUD); }

bool uartTake(uint8_t &byte) {
  const int found = Serial.read();
  if (found < 0) return false;
  byte = found;
  return true;
}

uint8_t uartRoom() { return (tail - waitingPut - 1) & (WAITING_SIZE - 1); }

// Only as much as there is room for: the core would wait for a host that does not read, longer than the watchdog does.
void uartGoOn() {
  if (tail == head) return;
  for (uint8_t room = Serial.availableForWrite(); room && tail != head; --room) {
    Serial.write(waiting[tail]);
    tail = (tail + 1) & (WAITING_SIZE - 1);
  }
  Serial.flush();
}

void uartSend() {
  head = waitingPut;
  uartGoOn();
}

#endif
