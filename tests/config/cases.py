"""Configuration files with something wrong in them, and what is said about each.

Shared by the tests of the loader and the test of the messages that the documentation shows.
"""

from typing import NamedTuple

VALID = """\
tenant:
  id: 11111111-2222-3333-4444-555555555555
  client_id: 66666666-7777-8888-9999-000000000000
  credential:
    secret_env: MAILOVER_CLIENT_SECRET
storage:
  lake: ./lake
  index: sqlite:///mailover.db
mailboxes:
  - address: kim.akers@contoso.com
    legacy: imap
"""


class Case(NamedTuple):
    """``VALID`` with ``old`` replaced by ``new``; ``{here}`` in the error is the file's folder."""

    old: str
    new: str
    error: str


_ID = "id: 11111111-2222-3333-4444-555555555555"
_SECRET = "    secret_env: MAILOVER_CLIENT_SECRET\n"
_ENDPOINTS = "storage:\n"

REJECTED = {
    "unknown_key": Case(
        "    legacy: imap",
        "    legcy: imap",
        "mailover.yaml:11: mailboxes[0].legcy: unknown key\n  → did you mean legacy?",
    ),
    "unknown_section": Case(
        "mailboxes:",
        "ingestion: {}\nmailboxes:",
        "mailover.yaml:9: ingestion: unknown key\n  → did you mean ingest?",
    ),
    "key_in_the_wrong_section": Case(
        "storage:",
        "  ca_file: ca.pem\nstorage:",
        "mailover.yaml:6: tenant.ca_file: unknown key here\n  → it belongs under tenant.endpoints",
    ),
    "key_that_is_like_no_other": Case(
        "  lake: ./lake",
        "  lake: ./lake\n  verbose: true",
        "mailover.yaml:8: storage.verbose: unknown key\n  → possible here: lake, index",
    ),
    "malformed_yaml": Case(
        "tenant:",
        "tenant: {",
        "mailover.yaml:3: not valid YAML: expected ',' or '}', but got ':'\n"
        "  → correct the line; nested keys are indented by spaces; a value with : or # in it needs quotes",
    ),
    "repeated_key": Case(
        "  lake: ./lake",
        "  lake: ./lake\n  lake: ./other",
        "mailover.yaml:8: storage.lake: the key stands twice, first on line 7\n  → keep one of the two",
    ),
    "missing_key": Case(
        "  lake: ./lake\n",
        "",
        "mailover.yaml:6: storage.lake: is missing\n"
        "  → name a folder, such as ./lake, or a URL, such as s3://bucket/lake",
    ),
    "placeholder_left_in": Case(
        _ID,
        "id: 00000000-0000-0000-0000-000000000000",
        "mailover.yaml:2: tenant.id: still holds the placeholder\n"
        "  → put in the Directory (tenant) ID from the app registration's overview page",
    ),
    "tenant_common": Case(
        _ID,
        "id: common",
        "mailover.yaml:2: tenant.id: 'common' names no tenant; an application signs in to one tenant\n"
        "  → put in the Directory (tenant) ID from the app registration's overview page",
    ),
    "tenant_organizations": Case(
        _ID,
        "id: Organizations",
        "mailover.yaml:2: tenant.id: 'organizations' names no tenant; an application signs in to one tenant\n"
        "  → put in the Directory (tenant) ID from the app registration's overview page",
    ),
    "client_id_that_is_no_guid": Case(
        "client_id: 66666666-7777-8888-9999-000000000000",
        "client_id: mailover",
        "mailover.yaml:3: tenant.client_id: is not a GUID (8-4-4-4-12 hexadecimal digits)\n"
        "  → put in the Application (client) ID from the app registration's overview page",
    ),
    "unknown_cloud": Case(
        _ENDPOINTS,
        "  cloud: germany\nstorage:\n",
        "mailover.yaml:6: tenant.cloud: 'germany' is not one of the possible values\n"
        "  → write public, us-gov-high, us-gov-dod or china",
    ),
    "secret_written_into_the_file": Case(
        _SECRET,
        "    secret: hunter2\n",
        "mailover.yaml:4: tenant.credential.secret_env: is missing\n"
        "  → name the environment variable that holds the client secret\n"
        "mailover.yaml:5: tenant.credential.secret: a secret must not be written into this file\n"
        "  → renew it, put it into an environment variable, and name that one in tenant.credential: "
        "secret_env, or passphrase_env of a certificate",
    ),
    "password_of_a_mailbox": Case(
        "    legacy: imap",
        "    password: hunter2",
        "mailover.yaml:11: mailboxes[0].password: a secret must not be written into this file\n"
        "  → renew it, put it into an environment variable, and name that one in tenant.credential: "
        "secret_env, or passphrase_env of a certificate",
    ),
    "secret_in_place_of_a_variable_name": Case(
        "MAILOVER_CLIENT_SECRET",
        "hunter2-Qv8Q~hunter2",
        "mailover.yaml:5: tenant.credential.secret_env: is not the name of an environment variable "
        "(capitals, digits, _); is it the secret itself?\n"
        "  → name the variable here, keep the secret in it, and renew a secret that stood in a file",
    ),
    "secret_that_could_be_a_name": Case(
        "MAILOVER_CLIENT_SECRET",
        "HUNTER2HUNTER2HUNTER2HUNTER2",
        "mailover.yaml:5: tenant.credential.secret_env: is not the name of an environment variable "
        "(capitals, digits, _); is it the secret itself?\n"
        "  → name the variable here, keep the secret in it, and renew a secret that stood in a file",
    ),
    "secret_in_the_lake_url": Case(
        "lake: ./lake",
        "lake: s3://key:hunter2@bucket/lake",
        "mailover.yaml:7: storage.lake: holds a secret\n"
        "  → take it out; the object store's own environment variables or roles carry credentials",
    ),
    "secret_and_certificate": Case(
        _SECRET,
        _SECRET + "    certificate: {path: mailover.yaml}\n",
        "mailover.yaml:5: tenant.credential.secret_env: stands beside certificate\n"
        "  → keep one of the two: a client secret or a certificate\n"
        "mailover.yaml:6: tenant.credential.certificate.path: {here}/mailover.yaml holds no certificate\n"
        "  → name one PEM file that holds the certificate and its private key",
    ),
    "certificate_that_is_not_there": Case(
        _SECRET,
        "    certificate: {path: app.pem}\n",
        "mailover.yaml:5: tenant.credential.certificate.path: {here}/app.pem cannot be read: "
        "No such file or directory\n"
        "  → name one PEM file that holds the certificate and its private key",
    ),
    "ca_file_that_is_not_there": Case(
        _ENDPOINTS,
        "  endpoints: {ca_file: ca.pem}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.ca_file: {here}/ca.pem cannot be read: No such file or directory\n"
        "  → name the PEM file that holds the private CA's certificate",
    ),
    "ca_file_without_a_certificate": Case(
        _ENDPOINTS,
        "  endpoints: {ca_file: mailover.yaml}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.ca_file: {here}/mailover.yaml holds no PEM certificate\n"
        "  → name the PEM file that holds the private CA's certificate",
    ),
    "plain_http_authority": Case(
        _ENDPOINTS,
        "  endpoints: {authority: 'http://localhost:8080'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.authority: 'http://localhost:8080' is plain http; "
        "secrets and tokens travel over TLS only\n"
        "  → write https:// instead",
    ),
    "plain_http_graph": Case(
        _ENDPOINTS,
        "  endpoints: {graph: 'http://localhost:8080/v1.0'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.graph: 'http://localhost:8080/v1.0' is plain http; "
        "secrets and tokens travel over TLS only\n"
        "  → write https:// instead",
    ),
    "authority_with_the_tenant": Case(
        _ENDPOINTS,
        "  endpoints: {authority: 'https://login.microsoftonline.com/contoso.com'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.authority: 'https://login.microsoftonline.com/contoso.com' "
        "has a path\n"
        "  → write the host alone; the tenant is taken from tenant.id",
    ),
    "authority_that_is_no_url": Case(
        _ENDPOINTS,
        "  endpoints: {authority: 'localhost:8443'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.authority: 'localhost:8443' is not an https URL\n"
        "  → write it as https://host or https://host:port",
    ),
    "password_in_the_authority": Case(
        _ENDPOINTS,
        "  endpoints: {authority: 'https://me:hunter2@localhost'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.authority: holds a user name or password\n"
        "  → write it as https://host or https://host:port; credentials go into an environment variable",
    ),
    "imap_without_a_port": Case(
        _ENDPOINTS,
        "  endpoints: {imap: localhost}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.imap: 'localhost' is not host:port\n"
        "  → write the host's name and the port of implicit TLS, such as localhost:993",
    ),
    "pop3_with_a_port_too_high": Case(
        _ENDPOINTS,
        "  endpoints: {pop3: 'localhost:99999'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.pop3: 'localhost:99999' is not host:port\n"
        "  → write the host's name and the port of implicit TLS, such as localhost:993",
    ),
    "lake_in_a_folder_that_is_not_there": Case(
        "./lake",
        "./data/lake",
        "mailover.yaml:7: storage.lake: the folder {here}/data is not there\n"
        "  → create it, or name another place",
    ),
    "lake_that_is_a_file": Case(
        "./lake",
        "mailover.yaml",
        "mailover.yaml:7: storage.lake: {here}/mailover.yaml is not a folder\n"
        "  → name a folder, new or existing",
    ),
    "lake_of_an_unknown_store": Case(
        "./lake",
        "ftp://host/lake",
        "mailover.yaml:7: storage.lake: is neither a folder nor the URL of an object store "
        "(s3://, gs://, abfss://)\n"
        "  → write a folder, such as ./lake, or a URL, such as s3://bucket/lake",
    ),
    "lake_with_a_key_in_its_parameters": Case(
        "./lake",
        "s3://bucket/lake?access_key=AKIA&secret_key=hunter2",
        "mailover.yaml:7: storage.lake: holds a secret\n"
        "  → take it out; the object store's own environment variables or roles carry credentials",
    ),
    "lake_with_a_user_in_its_url": Case(
        "./lake",
        "gs://hunter2@bucket/lake",
        "mailover.yaml:7: storage.lake: holds a secret\n"
        "  → take it out; the object store's own environment variables or roles carry credentials",
    ),
    "lake_with_an_unknown_parameter": Case(
        "./lake",
        "s3://bucket/lake?tls_verify_certificates=false",
        "mailover.yaml:7: storage.lake: has the parameter tls_verify_certificates, which is not known\n"
        "  → possible are region, endpoint_override, scheme, tls_ca_file_path",
    ),
    "lake_on_a_distant_server_without_tls": Case(
        "./lake",
        "s3://bucket/lake?scheme=http&endpoint_override=minio.contoso.com:9000",
        "mailover.yaml:7: storage.lake: would send mail without TLS\n"
        "  → take scheme or enable_tls out; plain http is for an emulator on this computer alone",
    ),
    "lake_on_azure_without_tls": Case(
        "./lake",
        "abfss://mail@contoso.dfs.core.windows.net/lake?enable_tls=false",
        "mailover.yaml:7: storage.lake: would send mail without TLS\n"
        "  → take scheme or enable_tls out; plain http is for an emulator on this computer alone",
    ),
    "index_in_a_folder_that_is_not_there": Case(
        "sqlite:///mailover.db",
        "sqlite:///data/mailover.db",
        "mailover.yaml:8: storage.index: the folder {here}/data is not there\n"
        "  → create it, or name another place",
    ),
    "index_that_is_no_url": Case(
        "sqlite:///mailover.db",
        "mailover.db",
        "mailover.yaml:8: storage.index: is not a database URL that SQLAlchemy knows\n"
        "  → write an SQLAlchemy URL, such as sqlite:///mailover.db or postgresql://user@host/database",
    ),
    "index_of_an_unknown_database": Case(
        "sqlite:///mailover.db",
        "nosuchdb://me:hunter2@host/mail",
        "mailover.yaml:8: storage.index: is not a database URL that SQLAlchemy knows\n"
        "  → write an SQLAlchemy URL, such as sqlite:///mailover.db or postgresql://user@host/database",
    ),
    "index_in_memory": Case(
        "sqlite:///mailover.db",
        "'sqlite://'",
        "mailover.yaml:8: storage.index: names no database file\n"
        "  → write three slashes and a path: sqlite:///mailover.db",
    ),
    "malformed_address": Case(
        "kim.akers@contoso.com",
        "kim.akers",
        "mailover.yaml:10: mailboxes[0].address: 'kim.akers' is not an e-mail address\n"
        "  → write it as name@domain, such as kim.akers@contoso.com",
    ),
    "address_with_a_space": Case(
        "kim.akers@contoso.com",
        "Kim <kim.akers@contoso.com>",
        "mailover.yaml:10: mailboxes[0].address: 'Kim <kim.akers@contoso.com>' is not an e-mail address\n"
        "  → write it as name@domain, such as kim.akers@contoso.com",
    ),
    **{
        f"address_that_no_partition_can_be_named_after_{name}": Case(
            "kim.akers@contoso.com",
            address,
            "mailover.yaml:10: mailboxes[0].address: the address holds '...', '|' or a control character, "
            "which the name of a partition cannot carry\n"
            "  → write the mailbox's primary SMTP address, or an alias of it without these characters",
        )
        for name, address in {
            "dots": "kim...akers@contoso.com",
            "bar": "kim|akers@contoso.com",
            "control": '"kim\\takers@contoso.com"',
        }.items()
    },
    "mailbox_twice": Case(
        "    legacy: imap\n",
        "    legacy: imap\n  - address: Kim.Akers@Contoso.com\n",
        "mailover.yaml:12: mailboxes[1].address: the mailbox kim.akers@contoso.com stands twice, "
        "first as mailboxes[0]\n"
        "  → keep one entry for each mailbox; upper and lower case are the same",
    ),
    "no_mailboxes": Case(
        "mailboxes:\n  - address: kim.akers@contoso.com\n    legacy: imap\n",
        "mailboxes: []\n",
        "mailover.yaml:9: mailboxes: is empty\n  → add at least one mailbox: - address: name@domain",
    ),
    "mailbox_without_its_section": Case(
        "  - address: kim.akers@contoso.com\n    legacy: imap\n",
        "  - kim.akers@contoso.com\n",
        "mailover.yaml:10: mailboxes[0]: must be a section of keys and values\n"
        "  → write its keys below it, indented",
    ),
    "unknown_protocol": Case(
        "legacy: imap",
        "legacy: ews",
        "mailover.yaml:11: mailboxes[0].legacy: 'ews' is not one of the possible values\n"
        "  → write imap or pop3",
    ),
    "wave_that_is_a_number": Case(
        "legacy: imap",
        "wave: 1",
        "mailover.yaml:11: mailboxes[0].wave: must be text\n  → put the value in quotes",
    ),
    "folders_that_are_no_list": Case(
        "legacy: imap",
        "folders: {include: Inbox}",
        "mailover.yaml:11: mailboxes[0].folders.include: must be a list\n"
        "  → write [one, another], or a line with - for each",
    ),
    "unknown_folder_role": Case(
        "legacy: imap",
        "folders: {exclude: ['\\Trash']}",
        "mailover.yaml:11: mailboxes[0].folders.exclude[0]: unknown folder role \\Trash\n"
        "  → did you mean trash? Roles are inbox, sent, drafts, trash, junk, archive, outbox; "
        "anything else is a folder's path",
    ),
    "folder_role_of_graph": Case(
        "legacy: imap",
        "folders: {include: [inbox, sentitems]}",
        "mailover.yaml:11: mailboxes[0].folders.include[1]: unknown folder role sentitems\n"
        "  → did you mean sent? Roles are inbox, sent, drafts, trash, junk, archive, outbox; "
        "anything else is a folder's path",
    ),
    "folder_path_with_a_slash_in_front": Case(
        "legacy: imap",
        "folders: {include: [/Projects]}",
        "mailover.yaml:11: mailboxes[0].folders.include[0]: '/Projects' is not a folder's path\n"
        "  → write the names of its levels with / between: Projects/2024",
    ),
    "batch_bytes_of_no_size": Case(
        "mailboxes:",
        "ingest: {batch_bytes: much}\nmailboxes:",
        "mailover.yaml:9: ingest.batch_bytes: 'much' is not a number of bytes\n"
        "  → write a number, with B, KiB, MiB or GiB where wanted: 32 MiB",
    ),
    "no_concurrency": Case(
        "mailboxes:",
        "ingest: {concurrency: 0}\nmailboxes:",
        "mailover.yaml:9: ingest.concurrency: is out of range\n  → write a number of at least 1",
    ),
    "concurrency_in_quotes": Case(
        "mailboxes:",
        "ingest: {concurrency: '4'}\nmailboxes:",
        "mailover.yaml:9: ingest.concurrency: must be a whole number\n  → write digits, without quotes",
    ),
    "batch_bytes_of_too_many_digits": Case(
        "mailboxes:",
        "ingest: {batch_bytes: '1000000000000000 B'}\nmailboxes:",
        "mailover.yaml:9: ingest.batch_bytes: '1000000000000000 B' is not a number of bytes\n"
        "  → write a number, with B, KiB, MiB or GiB where wanted: 32 MiB",
    ),
    "date_that_does_not_exist": Case(
        "legacy: imap",
        "wave: 2024-13-01",
        "mailover.yaml:11: mailboxes[0].wave: is not the date or number that it looks like\n"
        "  → put the value in quotes",
    ),
    "key_that_is_a_number": Case(
        "mailboxes:", "5: five\nmailboxes:", "mailover.yaml:9: [5]: is not a key\n  → keys are words"
    ),
    "section_left_empty": Case(
        _ENDPOINTS,
        "  endpoints:\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints: is empty\n  → write a value, or take the key out",
    ),
    "credential_left_empty": Case(
        _SECRET,
        "",
        "mailover.yaml:4: tenant.credential: is empty\n"
        "  → add secret_env: NAME, or certificate: {path: app.pem}",
    ),
    "secret_from_a_file": Case(
        "secret_env: MAILOVER_CLIENT_SECRET",
        "secret_file: secret.txt",
        "mailover.yaml:4: tenant.credential.secret_env: is missing\n"
        "  → name the environment variable that holds the client secret\n"
        "mailover.yaml:5: tenant.credential.secret_file: unknown key\n  → did you mean secret_env?",
    ),
    "graph_without_a_version": Case(
        _ENDPOINTS,
        "  endpoints: {graph: 'https://localhost:8443'}\nstorage:\n",
        "mailover.yaml:6: tenant.endpoints.graph: 'https://localhost:8443' does not end in Graph's version\n"
        "  → write it as https://host:port/v1.0",
    ),
    "lake_below_a_file": Case(
        "./lake",
        "mailover.yaml/lake",
        "mailover.yaml:7: storage.lake: {here}/mailover.yaml is not a folder\n"
        "  → create it, or name another place",
    ),
    "lake_with_a_name_too_long": Case(
        "./lake",
        "a" * 300,
        f"mailover.yaml:7: storage.lake: {{here}}/{'a' * 300} cannot be used: File name too long\n"
        "  → name another place",
    ),
    "index_with_a_nul": Case(
        "sqlite:///mailover.db",
        '"sqlite:///a\\0b"',
        "mailover.yaml:8: storage.index: holds a character that no path can hold\n  → write the path anew",
    ),
    "two_faults_at_once": Case(
        VALID,
        VALID.replace("tenant:\n", "tenant:\n  clod: public\n").replace("imap", "ews"),
        "mailover.yaml:2: tenant.clod: unknown key\n"
        "  → did you mean cloud?\n"
        "mailover.yaml:12: mailboxes[0].legacy: 'ews' is not one of the possible values\n"
        "  → write imap or pop3",
    ),
}
