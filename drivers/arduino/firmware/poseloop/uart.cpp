#pragma GCC optimize("O2")

#include "uart.h"

#ifndef USBCON

#include "limits.h"

#ifdef USART_RX_vect
#define HEARD_vect USART_RX_vect
#define SENT_vect USART_UDRE_vect
#else
#define HEARD_vect USART0_RX_vect
#define SENT_vect USART0_UDRE_vect
#endif

volatile uint8_t heard[HEARD_SIZE];
volatile uint8_t heardHead, heardTail;

uint8_t waiting[WAITING_SIZE];
uint8_t waitingPut;

namespace {
volatile uint8_t head, tail;
}  // namespace

ISR(HEARD_vect) { uartHear(); }

ISR(SENT_vect) {
  const uint8_t at = tail;
  UDR0 = waiting[at];
  const uint8_t next = (at + 1) & (WAITING_SIZE - 1);
  tail = next;
  if (next == head) UCSR0B &= ~_BV(UDRIE0);
}

void uartStart() {
  UCSR0A = _BV(U2X0);
  UBRR0 = (F_CPU / 4 / POSELOOP_BAUD - 1) / 2;
  UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
  UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
}

uint8_t uartRoom() { return (tail - waitingPut - 1) & (WAITING_SIZE - 1); }

void uartSend() {
  // The interrupt changes the same register.
  noInterrupts();
  head = waitingPut;
  UCSR0B |= _BV(UDRIE0);
  interrupts();
}

#endif
