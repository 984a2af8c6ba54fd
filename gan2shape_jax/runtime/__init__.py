"""What a process runs on and shows meanwhile: hosts, devices of a processor, progress, profiles."""
