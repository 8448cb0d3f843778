#!/bin/sh
# Makes the image of a test node: busybox, containerd, ctr, its shim and runc with the libraries they need,
# laid out like a k3s node. Its containerd starts at the container's start and listens where k3s's does.
#
#   build.sh WORK-FOLDER IMAGE-NAME CONTAINERD CTR SHIM RUNC      (DOCKER_HOST says where to)
set -eu
root=$1/root image=$2
shift 2

mkdir -p "$root/bin" "$root/etc/containerd" "$root/run" "$root/tmp" "$root/var/run" "$root/var/lib" \
    "$root/proc" "$root/sys" "$root/dev" "$root/root"
cp -L /bin/busybox "$root/bin/"
for link in $(/bin/busybox --list | grep -vx busybox); do ln -s busybox "$root/bin/$link"; done
cp -L "$@" "$root/bin/"
for library in $(ldd "$@" 2>/dev/null | awk '/=> \//{print $3} $1 ~ /^\/lib/ && !/:$/{print $1}' | sort -u); do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done

# oom_score_adj: a container without CAP_SYS_RESOURCE cannot lower it.
cat >"$root/etc/containerd/version-2.toml" <<'T'
version = 2
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "registry.k8s.io/pause:3.6"
T
cat >"$root/etc/containerd/version-3.toml" <<'T'
version = 3
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "registry.k8s.io/pause:3.6"
T
# The container's own cgroup tree is mounted read-only; containerd must write there.
cat >"$root/bin/entrypoint" <<'S'
#!/bin/sh
set -eu
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount -o remount,bind,rw /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/init
    xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs || true
    sed -e 's/ / +/g' -e 's/^/+/' </sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
else
    for group in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "$group"; done
fi
mount --make-rshared /
mkdir -p /run/k3s/containerd
case $(containerd --version) in *" v1."* | *" 1."*) version=2 ;; *) version=3 ;; esac
exec containerd -c /etc/containerd/version-$version.toml
S
chmod +x "$root/bin/entrypoint"

tar -C "$root" --owner=0 --group=0 --numeric-owner -c . | docker import \
    -c 'ENV PATH=/bin' -c 'VOLUME /var/lib/rancher/k3s' -c 'ENTRYPOINT ["/bin/entrypoint"]' - "$image" >/dev/null
