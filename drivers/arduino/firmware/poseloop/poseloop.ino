// Poseloop's firmware for Arduino Uno, Nano (ATmega328P) and Mega (ATmega2560); also for Leonardo and Micro (ATmega32U4),
// where it compiles and nobody has tested it.
//
// The host gives orders, the board keeps them in time and keeps them safe. `poseloop firmware DIR` says how to flash it;
// the wire protocol and the safety table are drivers/arduino/README.md of Poseloop.
//
//   limits.h    what may be compiled differently
//   protocol.h  the numbers of the wire
//   clock       half microseconds since the start
//   uart, usb   bytes
//   wire        frames
//   outputs     every edge of every output, made in one timer interrupt
//   duty        how long an output was on
//   inputs      time-stamped changes
//   board       what is obeyed, what is refused, lease, watchdog

#include "board.h"

void setup() { boardStart(); }

void loop() { boardLook(); }
