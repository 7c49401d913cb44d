# In the form of Intel Trust Authority's appraisal policies, version 1: one rule for each kind of TEE, no package.
default matches_sgx_policy = false

includes_value(allowed, found) = true {
	allowed[_] == found
}

matches_sgx_policy = true {
	input.sgx_is_debuggable == false
	includes_value([7], input.sgx_isvprodid)
	input.sgx_isvsvn >= 3
	input.sgx_mrsigner == "5151515151515151515151515151515151515151515151515151515151515151"
	input.attester_tcb_status == "UpToDate"
}
