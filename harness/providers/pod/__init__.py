"""An inference engine under a systemd unit on a machine reached over ssh."""
