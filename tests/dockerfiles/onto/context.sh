umask 022
mkdir -p tree/sub/deeper tree/deep etc
echo 1 >tree/one; echo s >tree/sub/s; echo d >tree/sub/deeper/d; echo replaced >tree/deep/file
chmod 750 tree tree/sub; chmod 600 tree/one; chmod 777 etc
echo motd >etc/motd
