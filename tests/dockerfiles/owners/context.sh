umask 022
echo content >file
mkdir -p tree/sub/empty tree/bin
echo a >tree/a; echo b >tree/sub/b; echo '#!/bin/sh' >tree/bin/tool; chmod 755 tree/bin/tool
ln -s a tree/link
chmod 700 tree/sub
