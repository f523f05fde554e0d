"""Asks the tests' Salesforce as simple-salesforce does; what it was answered, as one JSON document."""

import json
import sys
from datetime import datetime, timedelta, timezone

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceMalformedRequest, SalesforceResourceNotFound


class Plain(HTTPAdapter):
    """The client writes `https` whatever it is told; the simulator is on this machine."""

    def send(self, request, **options):
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **options)


url, client_id, client_secret = sys.argv[1:4]
grant = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
token = requests.post(f"{url}/services/oauth2/token", data=grant, timeout=30).json()
session = requests.Session()
session.mount("https://127.0.0.1", Plain())
crm = Salesforce(
    instance_url=token["instance_url"], session_id=token["access_token"], session=session, version="62.0"
)

told = {}
names = [listed["name"] for listed in crm.describe()["sobjects"]]
told["objects"] = names
told["fields"] = {field["name"]: field["type"] for field in crm.Account.describe()["fields"]}
told["limit"] = crm.limits()["DailyApiRequests"]["Max"]
query = "SELECT Id, Name, AnnualRevenue, CreatedDate FROM Account ORDER BY Name"
told["pages"] = [record["Name"] for record in crm.query_all(query)["records"]]
told["with_deleted"] = crm.query_all(query, include_deleted=True)["totalSize"]
told["count"] = crm.query("SELECT COUNT() FROM Account")["totalSize"]
told["usage"] = list(crm.api_usage["api-usage"])
now = datetime.now(timezone.utc)
told["deleted"] = len(crm.Account.deleted(now - timedelta(hours=1), now + timedelta(hours=1))["deletedRecords"])
told["updated"] = len(crm.Account.updated(now - timedelta(hours=1), now + timedelta(hours=1))["ids"])
bulk = "SELECT Id, Name, AnnualRevenue FROM Account"
told["bulk"] = list(crm.bulk2.Account.query(bulk, max_records=4, wait=0.1))
told["bulk_with_deleted"] = "".join(crm.bulk2.Account.query_all(bulk, wait=0.1)).count("\n") - 1
try:
    crm.query("SELECT Nothing__c FROM Account")
except SalesforceMalformedRequest as refused:
    told["refused"] = refused.content[0]["errorCode"]
try:
    crm.Nothing__c.describe()
except SalesforceResourceNotFound as refused:
    told["missing"] = refused.content[0]["errorCode"]
print(json.dumps(told))
