#!/bin/sh
# First process of the guest. Loads the modules that the root disk needs, mounts it and hands over to
# its /sbin/init. Without root= (or with a disk that cannot be mounted) it gives a shell here.

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=linux PS1='guest# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

load() {
  for module in $(cat "/modules/$1"); do
    [ -d "/sys/module/$module" ] || insmod "/modules/$module.ko" || echo "insmod $module failed"
  done
}

device='' mode=ro
for word in $(cat /proc/cmdline); do
  case $word in
    root=*) device=${word#root=} ;;
    rw) mode=rw ;;
  esac
done

case $device in
  /dev/sd*) load ata ;;
  /dev/vd*) load virtio ;;
  *) load virtio; load ata ;;
esac
load ext4

if [ -n "$device" ]; then
  # A disk may turn up a little after its driver.
  tries=0
  while [ ! -b "$device" ] && [ $tries -lt 50 ]; do tries=$((tries + 1)); usleep 100000; done
  if mount -t ext4 -o "$mode" "$device" /mnt; then
    for folder in dev proc sys; do mount --move "/$folder" "/mnt/$folder"; done
    exec switch_root /mnt /sbin/init
  fi
  echo "GUEST-NOROOT $device cannot be mounted"
else
  echo "GUEST-READY root=none uptime=$(cut -d' ' -f1 /proc/uptime) kernel=$(uname -r)"
fi
while :; do setsid cttyhack sh </dev/ttyS0 >/dev/ttyS0 2>&1; done
