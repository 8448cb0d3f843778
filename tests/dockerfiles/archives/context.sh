umask 022
mkdir -p tree/sub in/sub in/empty
echo file >tree/file; echo sub >tree/sub/file
echo a >in/a; echo b >in/sub/b; ln -s a in/link; ln in/a in/hard; chmod 4755 in/sub/b; chmod 700 in/empty
pack="tar --sort=name --owner=0 --group=0 --numeric-owner -C in"
$pack -cf plain.tar .
for kind in gzip bzip2 xz zstd; do
    echo $kind >in/$kind
    extension=gz
    case $kind in bzip2) extension=bz2 ;; xz) extension=xz ;; zstd) extension=zst ;; esac
    $pack --$kind -cf $kind.tar.$extension .
    rm in/$kind
done
gzip -c plain.tar >misnamed
echo 'not an archive' >not-an-archive.tar.gz
echo 'one file' | gzip -n >single.gz
tar --owner=web:33 --group=extra:2000 -C in -cf owners.tar a sub
mkfifo in/pipe; mknod in/zero c 1 5
long=in/$(printf 'l%.0s' $(seq 1 120))
mkdir -p "$long/$(printf 'm%.0s' $(seq 1 120))"
echo deep >"$long/$(printf 'm%.0s' $(seq 1 120))/file"
tar --owner=7:7 --group=8:8 -C in -cf special.tar .
mkdir -p over/one over/deep; echo x >over/one/inside; echo y >over/two; chmod 711 over over/deep
tar --owner=33:33 --group=33:33 -C over -cf over.tar .
mkdir attributes; echo tool >attributes/capable; setcap cap_net_raw+ep attributes/capable
tar --xattrs --xattrs-include='security.*' -C attributes -cf attributes.tar capable
echo note >attributes/noted
tar --format=pax --pax-option='SCHILY.xattr.user.note:=an attribute' -C attributes -cf note.tar noted
rm -r in over attributes
