#!/bin/bash
# Makes the configuration that Fulmar is measured with in folder $1, as users run it: users with passwords, 100 access
# rules, and nothing else changed (default limits, default log). Prints the file's path.
# All rules but the last are for everyone, and it is the last of the 100 that lets the generator pass: none before it decides.
set -eu
DIR=$1 USER_NAME=$2 PASSWORD=$3
mkdir -p "$DIR"
for name in "$USER_NAME" operator dashboard billing; do
  echo "$PASSWORD" | "$FULMAR" passwd --file "$DIR/users" "$name" > /dev/null
done
{
  echo "default: deny"
  echo "rules:"
  for site in $(seq 33); do
    echo "- allow: publish"
    echo "  filters: [\"sites/$site/\${clientid}/#\", \"sites/$site/state/\${username}\"]"
    echo "- allow: subscribe"
    echo "  filters: [\"sites/$site/commands/\${clientid}\", \"sites/$site/+/alarm\"]"
    echo "- deny: all"
    echo "  filters: [\"sites/$site/locked/#\"]"
  done
  echo "- allow: all"
  echo "  users: [$USER_NAME]"
  echo "  filters: [\"#\"]"
} > "$DIR/access.yaml"
cat > "$DIR/broker.yaml" <<X
auth:
  passwordFile: $DIR/users
  accessFile: $DIR/access.yaml
X
echo "$DIR/broker.yaml"
