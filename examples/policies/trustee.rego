# In the form of Trustee's attestation policies: three trust claims of AR4SI, for SNP and TDX.
# Reference values are the sets of the TOML policy that names this file (trustee.toml).
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

executables := 3 if input.snp.measurement in query_reference_value("snp_launch_measurement")

hardware := 2 if {
	input.snp.reported_tcb_bootloader in data.reference.snp_bootloader
	input.snp.reported_tcb_snp in data.reference.snp_snp_svn
}

configuration := 2 if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
}

executables := 3 if input.tdx.quote.body.mr_td in query_reference_value("mr_td")

hardware := 2 if {
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.tcb_status == "UpToDate"
}

configuration := 2 if input.tdx.td_attributes.debug == false
