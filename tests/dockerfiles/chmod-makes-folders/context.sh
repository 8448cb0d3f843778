umask 022
echo file >file
mkdir -p tree/sub
echo 1 >tree/sub/1
