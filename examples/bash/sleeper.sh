echo good night
sleep 3600
