#!/bin/sh
# First process of the guest's root disk: counts boots (in /boots, so that a test can tell whether
# writes outlived the machine), says GUEST-READY, and gives a shell on the serial line without a login.

export PATH=/bin HOME=/root TERM=linux PS1='guest# '
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
hostname guest
cd /root

boots=$(($(cat /boots) + 1))
echo $boots >/boots && sync || boots=read-only

# BusyBox's halt, poweroff and reboot tell process 1 by these signals.
shut_down() {
  kill -TERM -1
  usleep 200000
  sync
  mount -o remount,ro /
  echo "GUEST-OFF $1"
  "$1" -f
}
trap 'shut_down halt' USR1
trap 'shut_down poweroff' USR2
trap 'shut_down reboot' TERM

cat /etc/motd
device=$(awk '$2 == "/" && $1 != "rootfs" { print $1 }' /proc/mounts)
echo "GUEST-READY root=$device boots=$boots uptime=$(cut -d' ' -f1 /proc/uptime) kernel=$(uname -r)"

while :; do
  setsid cttyhack sh </dev/ttyS0 >/dev/ttyS0 2>&1 &
  # A signal ends `wait`, and its trap runs, only because the shell is in the background.
  wait $!
done
