// The serial port in interrupts: the core's HardwareSerial takes twice as long for a byte, and at 1 Mbaud one comes
// every 10 microseconds. A chip that speaks USB itself has its bytes in the core's USB endpoints instead (usb.cpp).
#pragma once

#include <Arduino.h>
#include <stdint.h>

#ifdef USBCON
inline void uartHear() {}
bool uartTake(uint8_t &byte);
#else
const uint8_t HEARD_SIZE = 128;  // a power of two
extern volatile uint8_t heard[HEARD_SIZE];
extern volatile uint8_t heardHead, heardTail;

// Move what the port holds to the buffer; call with interrupts off. When the buffer is full a byte is dropped: the
// checksum will tell.
inline void uartHear() {
  while (UCSR0A & _BV(RXC0)) {
    const uint8_t byte = UDR0;
    const uint8_t head = heardHead;
    const uint8_t next = (head + 1) & (HEARD_SIZE - 1);
    if (next == heardTail) continue;
    heard[head] = byte;
    heardHead = next;
  }
}

// Take the oldest byte; false = there is none.
inline bool uartTake(uint8_t &byte) {
  const uint8_t at = heardTail;
  if (at == heardHead) return false;
  byte = heard[at];
  heardTail = (at + 1) & (HEARD_SIZE - 1);
  return true;
}
#endif

const uint8_t WAITING_SIZE = 128;  // a power of two
extern uint8_t waiting[WAITING_SIZE];
extern uint8_t waitingPut;  // runs ahead of what is sent while a frame is built

void uartStart();

// Bytes for which there is room.
uint8_t uartRoom();

// Append a byte, for which there must be room; it is sent from the next `uartSend` on.
inline void uartPut(uint8_t byte) {
  waiting[waitingPut] = byte;
  waitingPut = (waitingPut + 1) & (WAITING_SIZE - 1);
}
void uartSend();

// Go on with what could not be sent yet; for the main loop.
#ifdef USBCON
void uartGoOn();
#else
inline void uartGoOn() {}
#endif
