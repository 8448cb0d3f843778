umask 022
echo file >file
