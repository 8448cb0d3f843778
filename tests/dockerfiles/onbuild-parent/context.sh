echo file >file
