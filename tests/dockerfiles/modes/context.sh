umask 022
mkdir -p tree/empty/er tree/closed tree/setgid tree/sticky
echo s >tree/setuid; chmod 4711 tree/setuid
echo w >tree/writable; chmod 666 tree/writable
echo n >tree/nothing; chmod 0 tree/nothing
echo g >tree/setgid/file; chmod 2770 tree/setgid
chmod 1777 tree/sticky; chmod 500 tree/closed
: >tree/zero
