printf '%s\n' apple pear apple pear apple | sort | uniq -c | sort -rn | sed 's/^ *//'
