"""A Teensy with the sketch `teensy_laser` of DeepLabCut-live."""
