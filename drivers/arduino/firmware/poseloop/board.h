// What is obeyed and what is refused; the lease; the watchdog.
#pragma once

void boardStart();

// One round of the main loop: take bytes, or else see to lease, limits, reports and inputs.
void boardLook();
