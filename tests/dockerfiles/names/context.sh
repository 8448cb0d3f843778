umask 022
for name in 'with space' 'semi;colon' 'umläut' one.txt two.txt bar bor aaz baz '[bracket]' 'quote"d' 'back\slash' \
    -dash ..dots '#hash' '$dollar' 'new
line' "tick'" .hidden; do
    echo "$name" >"./$name"
done
mkdir -p dir1/sub/x dir2/sub/x other
echo 1 >dir1/inner1.c; echo 2 >dir2/inner2.c; echo x >dir1/sub/x/1; echo y >dir2/sub/x/2; echo z >other/innerz.c
