#!/bin/bash
# Draws the secrets of compose.yaml into infra/compose/secrets, once; what is there stays. The folder can be entered by its owner
# alone; the files in it are readable, for a container reads them as a user of its own.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
draw() { head -c 32 /dev/urandom | base64 | tr -d '/+=\n'; }
keep() { [ -e "secrets/$1" ] || { cat >"secrets/$1" && chmod 644 "secrets/$1"; }; }
keep postgres_password <<<"$(draw)"
keep prefect_login <<<"isovox:$(draw)"
keep mlflow_password <<<"$(draw)"
keep mlflow_sessions <<<"$(draw)"
keep s3_key <<<"isovox"
keep s3_secret <<<"$(draw)"
keep mlflow_users.ini <<EOF
[mlflow]
default_permission = READ
database_uri = sqlite:////data/mlflow-users.db
admin_username = admin
admin_password = $(cat secrets/mlflow_password)
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
EOF
keep s3.json <<EOF
{"identities": [{"name": "isovox", "credentials": [{"accessKey": "$(cat secrets/s3_key)", "secretKey": "$(cat secrets/s3_secret)"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
EOF
echo "secrets are in $PWD/secrets; the password of Prefect's page is in prefect_login, MLflow's (user admin) in mlflow_password"
